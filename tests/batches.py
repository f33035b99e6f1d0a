"""Batches for tests that train on made-up tokens. Needs torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.training.batch import TrainingBatch


def training_batch(token_ids: Tensor, loss_mask: Tensor, **columns: Any) -> TrainingBatch:
    """A batch of these tokens, each of its own group; columns that are not given hold zeros."""
    size, width = token_ids.shape
    zeros = torch.zeros(token_ids.shape)
    defaults = {
        "response_mask": loss_mask,
        "sampled_log_probs": zeros,
        "rewards": torch.zeros(size),
        "groups": torch.arange(size),
        "lengths": torch.full((size,), width),
        "old_log_probs": zeros,
        "values": zeros,
        "reference_log_probs": None,
        "advantages": zeros,
        "returns": zeros,
    }
    return TrainingBatch(token_ids=token_ids, loss_mask=loss_mask, **(defaults | columns))
