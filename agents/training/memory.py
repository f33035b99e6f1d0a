"""What to do when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from agents.training.errors import TrainingError

SIGNS = ("can't allocate memory", "not enough memory")
"""What torch says when the memory of a CPU has run out."""


ADVICE = (
    "Lower `micro_batch_tokens`, `max_context` or `concurrent_episodes`, add "
    "`gradient_checkpointing`, train only `lora_rank` 16, or lower `sampler_memory` where vLLM "
    'shares the GPU. A model too large for one GPU belongs to verl: see "Larger models: verl" in '
    "docs/training.md."
)
"""What helps a run with a policy."""


@contextmanager
def explain_memory(advice: str = ADVICE) -> Iterator[None]:
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
        raise TrainingError(f"memory has run out: {str(error).splitlines()[0]} {advice}") from error


def recompute_activations(model: Any) -> None:
    """Have ``model`` compute activations again in the backward pass, to save memory."""
    # Newer versions of transformers have renamed `gradient_checkpointing_enable`.
    new_name = "activation_checkpointing_enable"
    getattr(model, new_name, model.gradient_checkpointing_enable)()
    model.enable_input_require_grads()
