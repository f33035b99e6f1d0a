"""The precision that a run computes in."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]


def uses_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Return whether to compute in bfloat16 on ``device``; ``auto`` does on a GPU."""
    if precision == "auto":
        return device.type == "cuda"
    return precision == "bfloat16"


def autocast(precision: Precision, device: torch.device) -> torch.autocast | nullcontext[None]:
    """Return a context manager for ``precision``."""
    if uses_bfloat16(precision, device):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
