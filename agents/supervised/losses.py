"""The loss of supervised learning: the cross-entropy of the tokens that have labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

NO_LABEL = -100
"""Label of the tokens that are not learned; the label of the others is their id."""


def shifted(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return where tokens with labels are predicted, and their labels.

    Args:
        labels: labels of the tokens, `NO_LABEL` where there is none, (B, T), int64. The first
            column is never predicted.

    Returns:
        True at the positions before the N tokens with labels, (B, T), bool; and the labels, (N,).
    """
    # The output at a position is for the next token; the last one predicts nothing.
    targets = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=NO_LABEL)
    chosen = targets != NO_LABEL
    return chosen, targets[chosen]


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of N tokens, (N,), float32, in nats.

    Args:
        logits: logits, (N, V).
        targets: ids of the tokens, (N,).
    """
    return cross_entropy(logits.float(), targets, reduction="none")


def summed_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of `token_losses`, as torch adds them up where it computes them."""
    return cross_entropy(logits, targets, reduction="sum")
