"""Trajectories as padded tensors, and their division into micro-batches by token count.

A batch is completed in three steps, each with its own type: `PlayedBatch` (from the environment and
the sampler), `Batch` (with the scores of the policy), `TrainingBatch` (with advantages).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from zs_env.tokens.trajectory import Trajectory


@dataclass(frozen=True)
class PlayedBatch:
    """Played episodes: B of them, of up to T tokens, padded on the right.

    Attributes:
        token_ids: token ids, (B, T), int64.
        response_mask: True for tokens that the policy wrote, (B, T), bool.
        loss_mask: True for tokens that contribute to the loss, (B, T), bool: `response_mask`,
            or with ``mask_documents=False`` all tokens after the prompt.
        sampled_log_probs: log-probabilities by the sampler, (B, T), float32; 0 if not sampled.
        rewards: rewards of the episodes, (B,), float32.
        groups: number of the question of each episode, from 0, (B,), int64.
        lengths: number of tokens of each episode, (B,), int64.
    """

    token_ids: Tensor
    response_mask: Tensor
    loss_mask: Tensor
    sampled_log_probs: Tensor
    rewards: Tensor
    groups: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        """Return the number of episodes, B."""
        return len(self.token_ids)

    def select(self, index: Tensor) -> Self:
        """Return the episodes at ``index``, int64 or bool, padded to the longest of them."""
        lengths = self.lengths[index]
        width = int(lengths.max()) if len(lengths) else 1
        return self._map(
            lambda column: column[index, :width] if column.ndim == 2 else column[index]
        )

    def padding(self) -> Self:
        """Return a batch of one episode of two tokens, none of which is in the loss."""
        empty = self._map(lambda column: column.new_zeros((1, 2)[: column.ndim]))
        return replace(empty, lengths=torch.full_like(empty.lengths, 2))

    def to(self, device: torch.device) -> Self:
        """Return the batch on ``device``."""
        return self._map(lambda column: column.to(device))

    def micro_batches(self, max_tokens: int) -> Iterator[Tensor]:
        """Yield indices of episodes with at most ``max_tokens`` tokens in all, padding included.

        A longer episode has a micro-batch of its own.
        """
        # For the benchmark training: episodes of similar length share one, with little padding.
        order = torch.argsort(self.lengths, stable=True)
        first = 0
        for last in range(len(order)):
            if last > first and int(self.lengths[order[last]]) * (last + 1 - first) > max_tokens:
                yield order[first:last]
                first = last
        if len(order):
            yield order[first:]

    def with_scores(
        self, old_log_probs: Tensor, values: Tensor, reference_log_probs: Tensor | None = None
    ) -> Batch:
        """Return a `Batch` of these episodes; it documents the arguments."""
        return Batch(
            **vars(self),
            old_log_probs=old_log_probs,
            values=values,
            reference_log_probs=reference_log_probs,
        )

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Return a batch of ``function(column)`` for each column that is not None."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: function(c) for n, c in columns.items() if c is not None})


@dataclass(frozen=True)
class Batch(PlayedBatch):
    """Played episodes with the scores of the policy before the update.

    Attributes:
        old_log_probs: log-probabilities before the update, (B, T), see ``Config.old_log_probs``;
            0 outside the loss mask.
        values: expected returns by the value head, (B, T); 0 without a value head, and outside the
            loss mask.
        reference_log_probs: log-probabilities by the reference policy, (B, T); None without one.
    """

    old_log_probs: Tensor
    values: Tensor
    reference_log_probs: Tensor | None

    def with_targets(self, advantages: Tensor, returns: Tensor | None = None) -> TrainingBatch:
        """Return a `TrainingBatch` of these episodes.

        Args:
            advantages: advantages of the tokens, (B, T).
            returns: targets of the values, (B, T); by default ``advantages + values``, which is
                wrong for normalised advantages.
        """
        returns = advantages + self.values if returns is None else returns
        return TrainingBatch(**{**vars(self), "advantages": advantages, "returns": returns})


@dataclass(frozen=True)
class TrainingBatch(Batch):
    """Episodes with all that a loss function needs.

    Attributes:
        advantages: advantages of the tokens, (B, T).
        returns: targets of the values, (B, T).
    """

    advantages: Tensor
    returns: Tensor


def make_batch(
    trajectories: Sequence[Trajectory], groups: Sequence[int], *, mask_documents: bool = True
) -> PlayedBatch:
    """Make a batch of ``trajectories``, padded on the right.

    Args:
        trajectories: episodes of any lengths; there may be none.
        groups: number of the question of each episode, from 0.
        mask_documents: False puts all tokens after the prompt into the loss, to study the effect.
    """
    width = max((len(t) for t in trajectories), default=1)

    def padded(arrays: Sequence[np.ndarray], dtype: torch.dtype) -> Tensor:
        column = torch.zeros(len(arrays), width, dtype=dtype)
        for number, array in enumerate(arrays):
            column[number, : len(array)] = torch.tensor(array)
        return column

    response_masks = [t.response_mask for t in trajectories]
    loss_masks = response_masks if mask_documents else [_after_prompt(t) for t in trajectories]
    return PlayedBatch(
        token_ids=padded([t.token_ids for t in trajectories], torch.int64),
        response_mask=padded(response_masks, torch.bool),
        loss_mask=padded(loss_masks, torch.bool),
        sampled_log_probs=padded([t.log_probs for t in trajectories], torch.float32),
        rewards=torch.tensor([t.reward for t in trajectories], dtype=torch.float32),
        groups=torch.tensor(groups, dtype=torch.int64),
        lengths=torch.tensor([len(t) for t in trajectories], dtype=torch.int64),
    )


def _after_prompt(trajectory: Trajectory) -> np.ndarray:
    mask = np.ones(len(trajectory), dtype=np.bool_)
    mask[: trajectory.segments[0].stop] = False
    return mask
