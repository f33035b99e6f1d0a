"""Advantages: how much better each token, or each episode, did than expected.

Pure functions of tensors. ``loss_mask`` is True for tokens that contribute to the loss, which are
those that the policy wrote; documents take no part.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_DEVIATION = 1e-5
"""Standard deviation up to which the rewards of a group count as equal."""


def rewards_at_end(rewards: Tensor, loss_mask: Tensor) -> Tensor:
    """Put each episode's reward on its last policy token.

    Args:
        rewards: rewards of the episodes, (B,).
        loss_mask: policy tokens, (B, T), bool.

    Returns:
        Rewards of the tokens, (B, T), float32.
    """
    # Counted from the end, the last policy token is number 1.
    is_last = loss_mask & (loss_mask.flip(1).cumsum(1).flip(1) == 1)
    return is_last * rewards[:, None].float()


def gae(
    rewards: Tensor, values: Tensor, loss_mask: Tensor, gamma: float = 1.0, gae_lambda: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return advantages by GAE (Schulman et al. 2016, eq. 16) over policy tokens only.

    The token after a policy token is the next *policy* token: documents between them are part of
    the environment, so neither their values nor their number matter. The value after the last
    token is 0, even if the episode was truncated: the limits are part of the task.

    Args:
        rewards: rewards of the tokens, (B, T).
        values: expected return before each token, (B, T).
        loss_mask: policy tokens, (B, T), bool.
        gamma: discount for each policy token.
        gae_lambda: weight of later rewards against later values: 0 uses the next value only, 1 the
            rewards only.

    Returns:
        Advantages and returns (advantages + values), (B, T) each, 0 outside the loss mask.
    """
    advantages = torch.zeros_like(values)
    next_value = torch.zeros_like(values[:, 0])
    next_advantage = torch.zeros_like(next_value)
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * gae_lambda * next_advantage
        advantages[:, t] = advantage
        # Other tokens leave both unchanged.
        next_value = torch.where(loss_mask[:, t], values[:, t], next_value)
        next_advantage = torch.where(loss_mask[:, t], advantage, next_advantage)
    advantages = advantages.where(loss_mask, 0.0)
    return advantages, (advantages + values).where(loss_mask, 0.0)


def group_relative(rewards: Tensor, groups: Tensor, *, divide_by_std: bool = True) -> Tensor:
    """Return (reward - group's mean) / group's standard deviation: GRPO's advantages.

    Shao et al. 2024, section 4.1.2. In a group without variance all advantages are 0.

    Args:
        rewards: rewards of the episodes, (B,).
        groups: number of each episode's group, from 0, (B,), int64.
        divide_by_std: False leaves the division out (Liu et al. 2025, "Dr. GRPO").

    Returns:
        Advantages of the episodes, (B,).
    """
    centred, deviation = _centred(rewards, groups)
    return centred / deviation.clamp_min(SMALLEST_DEVIATION) if divide_by_std else centred


def has_variance(rewards: Tensor, groups: Tensor) -> Tensor:
    """Return whether the rewards of each episode's group differ, (B,), bool."""
    return _centred(rewards, groups)[1] > 0.0


def leave_one_out(rewards: Tensor, groups: Tensor) -> Tensor:
    """Return the reward minus the mean of the others in its group: RLOO (Ahmadian et al. 2024).

    Args:
        rewards: rewards of the episodes, (B,).
        groups: number of each episode's group, from 0, (B,), int64. An episode that is alone in its
            group has an advantage of 0.

    Returns:
        Advantages of the episodes, (B,).
    """
    # reward - mean of the n - 1 others = (reward - mean of all n) * n / (n - 1)
    sizes = torch.bincount(groups)[groups]
    return _centred(rewards, groups)[0] * sizes / (sizes - 1).clamp_min(1)


def normalize(values: Tensor, loss_mask: Tensor, mean: float, variance: float) -> Tensor:
    """Return ``values`` normalised with ``mean`` and ``variance``; 0 outside the loss mask."""
    return ((values - mean) / (variance + 1e-8) ** 0.5).where(loss_mask, 0.0)


def _centred(rewards: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return rewards minus their group's mean, and its deviation; both 0 without variance."""
    centred = rewards - _group_mean(rewards, groups)[groups]
    deviation = _group_mean(centred.square(), groups).sqrt()[groups]
    # Equal rewards may show a small variance, from rounding.
    varies = deviation > SMALLEST_DEVIATION
    return centred.where(varies, 0.0), deviation.where(varies, 0.0)


def _group_mean(values: Tensor, groups: Tensor) -> Tensor:
    """Return the mean of each group, (number of groups,)."""
    sizes = torch.bincount(groups)
    sums = torch.zeros(len(sizes), dtype=values.dtype, device=values.device)
    return sums.index_add(0, groups, values) / sizes.clamp_min(1)
