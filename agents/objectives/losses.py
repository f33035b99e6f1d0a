"""Losses and estimators, a value for each token; 0 where ``mask`` is False.

Pure functions of tensors (B, T), float32. Whoever calls them sums over the tokens and divides by
their number, so that gradients can be accumulated over parts of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor


def policy_gradient_loss(log_probs: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """REINFORCE: -A log p (Williams 1992)."""
    return (-advantages * log_probs).where(mask, 0.0)


def clipped_policy_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip_coef: float = 0.2,
    clip_coef_high: float | None = None,
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate (Schulman et al. 2017, eq. 7).

    Args:
        log_probs: by the policy that is trained.
        old_log_probs: by the policy that sampled.
        advantages: of the tokens.
        mask: policy tokens, bool.
        clip_coef: the ratio may fall to 1 - clip_coef,
        clip_coef_high: and rise to 1 + clip_coef_high; ``clip_coef`` by default.

    Returns:
        The loss, and where the clipping took effect (bool).
    """
    ratio = (log_probs - old_log_probs).where(mask, 0.0).exp()
    high = clip_coef if clip_coef_high is None else clip_coef_high
    free = -advantages * ratio
    bound = -advantages * ratio.clamp(1.0 - clip_coef, 1.0 + high)
    return torch.maximum(free, bound).where(mask, 0.0), (bound > free) & mask


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip_coef: float = 0.2
) -> Tensor:
    """Half the squared error, of which a step beyond ``clip_coef`` earns no less.

    As in PPO's implementations (Huang et al. 2022, detail 9).
    """
    near = old_values + (values - old_values).clamp(-clip_coef, clip_coef)
    error = torch.maximum((values - returns).square(), (near - returns).square())
    return (0.5 * error).where(mask, 0.0)


def kl_k1(log_probs: Tensor, reference_log_probs: Tensor, mask: Tensor) -> Tensor:
    """log(p / q) at the sampled tokens: unbiased for KL(p || q), and often negative.

    As a *loss* its gradient is wrong on average (it is 0): put it into the rewards.
    """
    return (log_probs - reference_log_probs).where(mask, 0.0)


def kl_k3(log_probs: Tensor, reference_log_probs: Tensor, mask: Tensor) -> Tensor:
    """Q / p - 1 - log(q / p) at the sampled tokens: unbiased, and never negative.

    Schulman 2020, "Approximating KL divergence"; GRPO's penalty.
    """
    log_ratio = (reference_log_probs - log_probs).where(mask, 0.0)
    return log_ratio.exp() - 1.0 - log_ratio


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens of the mask; 0 if there are none."""
    return values.where(mask, 0.0).sum() / mask.sum().clamp_min(1)
