"""Supervised learning of language models: batches, losses, optimizers, schedule."""
