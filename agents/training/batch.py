"""Trajectories as padded tensors, and their division by token count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zs_env.tokens.trajectory import Trajectory


@dataclass(frozen=True)
class Batch:
    """B episodes of up to T tokens, padded on the right. Algorithms fill the optional columns.

    Attributes:
        token_ids: (B, T), int64.
        response_mask: tokens that the policy wrote, (B, T), bool.
        mask: tokens that contribute to the loss, (B, T), bool: these, unless documents do too.
        sampled_log_probs: log-probabilities when they were sampled, (B, T); 0 if not sampled.
        rewards: of the episodes, (B,).
        groups: number of the question of each episode, from 0, (B,), int64.
        lengths: tokens of each episode, (B,), int64.
        old_log_probs: log-probabilities before the update, (B, T).
        values: before the update, (B, T).
        reference_log_probs: by the reference policy, (B, T).
        advantages: (B, T).
        returns: what the values should be, (B, T).
    """

    token_ids: Tensor
    response_mask: Tensor
    mask: Tensor
    sampled_log_probs: Tensor
    rewards: Tensor
    groups: Tensor
    lengths: Tensor
    old_log_probs: Tensor = None  # type: ignore[assignment]  # until it is filled
    values: Tensor = None  # type: ignore[assignment]
    reference_log_probs: Tensor | None = None
    advantages: Tensor = None  # type: ignore[assignment]
    returns: Tensor = None  # type: ignore[assignment]

    def __len__(self) -> int:
        """Number of episodes, B."""
        return len(self.token_ids)

    def rows(self, index: Tensor) -> Batch:
        """The episodes at ``index``, (rows,), int64 or bool, without padding that none needs."""
        lengths = self.lengths[index]
        width = int(lengths.max()) if len(lengths) else 1
        return self._map(
            lambda column: column[index, :width] if column.ndim == 2 else column[index]
        )

    def padding(self) -> Batch:
        """One episode of two tokens with the same columns, which contributes to nothing."""
        empty = self._map(lambda column: column.new_zeros((1, 2)[: column.ndim]))
        return replace(empty, lengths=torch.full_like(empty.lengths, 2))

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return self._map(lambda column: column.to(device))

    def micro_batches(self, max_tokens: int) -> Iterator[Tensor]:
        """Rows of parts with at most ``max_tokens`` tokens, padding included, or of one episode.

        Episodes of similar length share a part, so that little is padded.
        """
        order = torch.argsort(self.lengths, stable=True)
        first = 0
        for last in range(len(order)):
            if last > first and int(self.lengths[order[last]]) * (last + 1 - first) > max_tokens:
                yield order[first:last]
                first = last
        if len(order):
            yield order[first:]

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """``function`` of each column that there is."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {n: v if v is None else function(v) for n, v in columns.items()}
        return Batch(**changed)


def make_batch(
    trajectories: Sequence[Trajectory], groups: Sequence[int], *, mask_documents: bool = True
) -> Batch:
    """Pad ``trajectories``, which may be none.

    Args:
        trajectories: of any lengths.
        groups: number of each one's question.
        mask_documents: False trains on all tokens behind the prompt, to study what that does.
    """
    width = max((len(t) for t in trajectories), default=1)

    def padded(rows: Sequence[np.ndarray], dtype: torch.dtype) -> Tensor:
        column = torch.zeros(len(rows), width, dtype=dtype)
        for number, row in enumerate(rows):
            column[number, : len(row)] = torch.tensor(row)
        return column

    response_masks = [t.response_mask for t in trajectories]
    masks = response_masks if mask_documents else [_behind_prompt(t) for t in trajectories]
    return Batch(
        token_ids=padded([t.token_ids for t in trajectories], torch.int64),
        response_mask=padded(response_masks, torch.bool),
        mask=padded(masks, torch.bool),
        sampled_log_probs=padded([t.log_probs for t in trajectories], torch.float32),
        rewards=torch.tensor([t.reward for t in trajectories], dtype=torch.float32),
        groups=torch.tensor(groups, dtype=torch.int64),
        lengths=torch.tensor([len(t) for t in trajectories], dtype=torch.int64),
    )


def _behind_prompt(trajectory: Trajectory) -> np.ndarray:
    mask = np.ones(len(trajectory), dtype=np.bool_)
    mask[: trajectory.segments[0].stop] = False
    return mask
