"""Concurrent waiting for servers, for engines and language models."""
