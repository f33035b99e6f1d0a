"""Advantages: how much better each token, or each episode, did than was to be expected.

Pure functions of tensors. ``mask`` is True for policy tokens, everywhere; documents take no part.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_DEVIATION = 1e-5
"""Rewards of a group that differ by less are equal."""


def rewards_at_end(rewards: Tensor, mask: Tensor) -> Tensor:
    """Put each episode's reward on its last policy token.

    Args:
        rewards: of the episodes, (B,).
        mask: policy tokens, (B, T), bool.

    Returns:
        Rewards of the tokens, (B, T), float32.
    """
    is_last = mask & (mask.flip(1).cumsum(1).flip(1) == 1)
    return is_last * rewards[:, None].float()


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, gae_lambda: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16) over policy tokens only.

    The token after a policy token is the next *policy* token: documents between them are part of
    the environment, so neither their values nor their number matter. After the last there is
    nothing: running out of turns or context is part of the task, and earns what it earns.

    Args:
        rewards: (B, T).
        values: expected return before each token, (B, T).
        mask: policy tokens, (B, T), bool.
        gamma: discount for each policy token.
        gae_lambda: 0 trusts the values, 1 the returns.

    Returns:
        Advantages and returns (advantages + values), (B, T) each, 0 off the mask.
    """
    advantages = torch.zeros_like(values)
    next_value = torch.zeros_like(values[:, 0])
    next_advantage = torch.zeros_like(next_value)
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * gae_lambda * next_advantage
        advantages[:, t] = advantage
        next_value = torch.where(mask[:, t], values[:, t], next_value)
        next_advantage = torch.where(mask[:, t], advantage, next_advantage)
    advantages = advantages.where(mask, 0.0)
    return advantages, (advantages + values).where(mask, 0.0)


def group_relative(rewards: Tensor, groups: Tensor, *, divide_by_std: bool = True) -> Tensor:
    """GRPO's advantage: the reward, less the group's mean, over its standard deviation.

    Shao et al. 2024, section 4.1.2. A group without variance has no advantages: all are 0.

    Args:
        rewards: (B,).
        groups: number of each episode's group, from 0, (B,), int64.
        divide_by_std: False leaves the differences as they are (Liu et al. 2025, "Dr. GRPO").

    Returns:
        (B,).
    """
    centred, deviation = _centred(rewards, groups)
    return centred / deviation.clamp_min(SMALLEST_DEVIATION) if divide_by_std else centred


def has_variance(rewards: Tensor, groups: Tensor) -> Tensor:
    """Whether the rewards of each episode's group differ, (B,), bool."""
    return _centred(rewards, groups)[1] > 0.0


def leave_one_out(rewards: Tensor, groups: Tensor) -> Tensor:
    """The reward, less the mean of the others of the group (Ahmadian et al. 2024, RLOO).

    Args:
        rewards: (B,).
        groups: number of each episode's group, (B,), int64; at least two to a group, for whoever
            is alone has an advantage of 0.

    Returns:
        (B,).
    """
    sizes = torch.bincount(groups)[groups]
    return _centred(rewards, groups)[0] * sizes / (sizes - 1).clamp_min(1)


def normalize(values: Tensor, mask: Tensor, mean: float, variance: float) -> Tensor:
    """``values`` shifted and scaled by the moments given, 0 off the mask."""
    return ((values - mean) / (variance + 1e-8) ** 0.5).where(mask, 0.0)


def _centred(rewards: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Rewards less their group's mean, and its standard deviation; both 0 without variance."""
    centred = rewards - _group_mean(rewards, groups)[groups]
    deviation = _group_mean(centred.square(), groups).sqrt()[groups]
    # Rounding leaves a trace of variance where there is none.
    varies = deviation > SMALLEST_DEVIATION
    return centred.where(varies, 0.0), deviation.where(varies, 0.0)


def _group_mean(values: Tensor, groups: Tensor) -> Tensor:
    """Mean of each group, (number of groups,)."""
    sizes = torch.bincount(groups)
    sums = torch.zeros(len(sizes), dtype=values.dtype, device=values.device)
    return sums.index_add(0, groups, values) / sizes.clamp_min(1)
