"""Short programs, each of which shows one thing: ``python -m examples.name``."""
