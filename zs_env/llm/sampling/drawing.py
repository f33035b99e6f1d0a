"""Draws of tokens, each with a random number of its own, so that the batch does not matter."""

from __future__ import annotations

import torch
from torch import Tensor

PLAUSIBLE_NATS = 4.0
"""Largest difference of log-probabilities, in nats, to the likeliest token with `contrasted`."""


def draw(
    logits: Tensor, uniform: Tensor, temperatures: Tensor, top_p: Tensor, greedy: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw a token from each row by inverse transform sampling.

    Args:
        logits: logits, (B, V), float32.
        uniform: random numbers in [0, 1), (B,), float64.
        temperatures: divisors of the logits, above 0, (B,).
        top_p: probability that the likeliest tokens to draw from have together, in (0, 1], (B,).
        greedy: True where the likeliest token is taken instead, (B,), bool.

    Returns:
        Token ids (B,), int64, and their log-probabilities (B,), float32, at the temperature and
        among all tokens, whatever ``top_p``.
    """
    log_probs = (logits / temperatures[:, None]).log_softmax(-1)
    likeliest = log_probs.argmax(-1, keepdim=True)
    if greedy.all():
        tokens = likeliest
    else:
        scores = keep_top_p(log_probs, top_p[:, None]) if (top_p < 1).any() else log_probs
        # Sums of float32 would not tell apart the unlikely tokens of a large vocabulary.
        cumulative = scores.exp().cumsum(-1, dtype=torch.float64)
        target = uniform[:, None] * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, target, right=True)
        drawn.clamp_(max=logits.shape[-1] - 1)  # rounding may exceed the last sum
        tokens = likeliest.where(greedy[:, None], drawn)
    return tokens[:, 0], log_probs.gather(-1, tokens)[:, 0]


def contrasted(logits: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    """Return logits that prefer what one context makes likely and another one does not.

    Contrastive decoding (Li et al. 2023), with the log-probabilities of the same model after two
    contexts, p and q: ``p + weight * (p - q)``. Only tokens keep a chance whose p is within
    `PLAUSIBLE_NATS` of the likeliest: what the model would not write is not made likely.

    Args:
        logits: logits after the context that is written for, (B, V), float32.
        others: logits after the context to differ from, (B, V), float32.
        weights: weights of the difference, above 0, (B,).
    """
    p, q = logits.log_softmax(-1), others.log_softmax(-1)
    implausible = p < p.amax(-1, keepdim=True) - PLAUSIBLE_NATS
    return (p + weights[:, None] * (p - q)).masked_fill(implausible, -torch.inf)


def keep_top_p(scores: Tensor, top_p: Tensor) -> Tensor:
    """Return logits (B, V), -inf outside the likeliest tokens that sum to ``top_p`` (B, 1)."""
    probabilities, order = scores.softmax(-1).sort(descending=True)
    outside = (probabilities.cumsum(-1) - probabilities >= top_p) & (top_p < 1)
    outside[:, 0] = False  # the likeliest token always stays
    return scores.masked_fill(outside.scatter(-1, order, outside), -torch.inf)
