"""What engines and language models need to wait for many things at once."""
