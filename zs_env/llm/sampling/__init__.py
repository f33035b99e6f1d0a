"""Sampling from a causal language model in this process: policies and simulation LLMs alike."""
