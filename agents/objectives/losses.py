"""Losses and estimators, a value for each token; 0 where ``loss_mask`` is False.

Pure functions of tensors (B, T), float32, and of a ``loss_mask`` (B, T), bool. The caller sums over
the tokens and divides by their number, so that gradients can be accumulated over micro-batches.
"""

from __future__ import annotations

import torch
from torch import Tensor


def policy_gradient_loss(log_probs: Tensor, advantages: Tensor, loss_mask: Tensor) -> Tensor:
    """Return the loss of REINFORCE, -A log p (Williams 1992)."""
    return (-advantages * log_probs).where(loss_mask, 0.0)


def clipped_policy_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    loss_mask: Tensor,
    clip_coef: float = 0.2,
) -> tuple[Tensor, Tensor]:
    """Return PPO's clipped surrogate loss (Schulman et al. 2017, eq. 7).

    Args:
        log_probs: log-probabilities by the policy being trained.
        old_log_probs: log-probabilities before the update.
        advantages: advantages of the tokens.
        loss_mask: True for tokens that contribute, bool.
        clip_coef: clipping range of the probability ratio, [1 - clip_coef, 1 + clip_coef].

    Returns:
        The loss, and where clipping took effect (bool).
    """
    # Masked before `exp`, so that nothing overflows where the mask is False.
    ratio = (log_probs - old_log_probs).where(loss_mask, 0.0).exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1.0 - clip_coef, 1.0 + clip_coef)
    loss = torch.maximum(unclipped, clipped).where(loss_mask, 0.0)
    return loss, (clipped > unclipped) & loss_mask


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, loss_mask: Tensor, clip_coef: float = 0.2
) -> Tensor:
    """Return half the squared error of the values, clipped as in implementations of PPO.

    A change of a value by more than ``clip_coef`` does not lower the loss (Huang et al. 2022,
    detail 9).
    """
    near = old_values + (values - old_values).clamp(-clip_coef, clip_coef)
    error = torch.maximum((values - returns).square(), (near - returns).square())
    return (0.5 * error).where(loss_mask, 0.0)


def kl_k1(log_probs: Tensor, reference_log_probs: Tensor, loss_mask: Tensor) -> Tensor:
    """Return log(p / q) at the sampled tokens: unbiased for KL(p || q), and often negative.

    Use it in the rewards, not as a *loss*: there the expectation of its gradient is 0.
    """
    return (log_probs - reference_log_probs).where(loss_mask, 0.0)


def kl_k3(log_probs: Tensor, reference_log_probs: Tensor, loss_mask: Tensor) -> Tensor:
    """Return q / p - 1 - log(q / p) at the sampled tokens: unbiased, and never negative.

    See Schulman 2020, "Approximating KL divergence". It is the penalty of GRPO.
    """
    log_ratio = (reference_log_probs - log_probs).where(loss_mask, 0.0)
    # `exp() - 1` would lose small ratios, and rounding can leave a little less than 0.
    return (log_ratio.expm1() - log_ratio).clamp(min=0.0)
