"""Adapters to trainers of language models: one module each, which imports its trainer lazily."""
