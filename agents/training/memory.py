"""What to do when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from agents.training.errors import TrainingError

SIGNS = ("can't allocate memory", "not enough memory")
"""What torch says when the memory of a CPU has run out."""


@contextmanager
def explain_memory() -> Iterator[None]:
    """Turn torch's error of memory that ran out into one that says which options to lower.

    Raises:
        TrainingError: memory ran out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and not any(sign in str(error) for sign in SIGNS):
            raise
        raise TrainingError(
            f"memory has run out: {str(error).splitlines()[0]} Lower `micro_batch_tokens`, "
            "`max_context` or `concurrent_episodes`, add `gradient_checkpointing`, train only "
            "`lora_rank` 16, or lower `sampler_memory` where vLLM shares the GPU. A model too "
            'large for one GPU belongs to verl: see "Larger models: verl" in docs/training.md.'
        ) from error
