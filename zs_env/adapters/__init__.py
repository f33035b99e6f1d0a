"""Adapters to trainers of language models: one module each, which imports its trainer lazily.

What they share is in `zs_env.adapters.task`; what they all must do, in `zs_env.testing.adapters`.
"""
