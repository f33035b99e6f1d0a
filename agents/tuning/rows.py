"""Rows of tokens: a pair each, with padding, or several pairs that do not see one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from agents.supervised.batches import padded, padded_length
from agents.supervised.losses import NO_LABEL
from agents.tuning.encoding import EncodedPair
from zs_env.simulation.pair import NOISY, USEFUL

Row = Sequence[EncodedPair]
"""Pairs that stand one behind another."""

KINDS = {"": 0, USEFUL: 1, NOISY: 2}
"""Numbers of labels; all others are 0."""

LENGTHS = 16
"""What padded lengths are multiples of: kernels are prepared anew for each length."""


class RowBatch(NamedTuple):
    """B rows of up to T tokens, padded on the right.

    Attributes:
        token_ids: token ids, (B, T), int64.
        positions: position of each token in its pair, (B, T), int64.
        segments: number of the pair in its row, -1 for padding, (B, T), int64.
        labels: labels, `NO_LABEL` where there is none, (B, T), int64.
        golden: True for tokens of golden answers, (B, T), bool.
        stated: True for tokens of names that are said to be stated, (B, T), bool.
        weighted: True for tokens with the weight of answers, (B, T), bool.
        kinds: number of the label of the pair, see `KINDS`, (B, T), int64.
    """

    token_ids: Tensor
    positions: Tensor
    segments: Tensor
    labels: Tensor
    golden: Tensor
    stated: Tensor
    weighted: Tensor
    kinds: Tensor

    def to(self, device: torch.device) -> RowBatch:
        """Return the batch on ``device``."""
        return RowBatch(*(column.to(device) for column in self))

    @property
    def is_packed(self) -> bool:
        """Whether a row holds more than one pair."""
        return bool((self.segments > 0).any())

    def may_attend(self) -> Tensor:
        """Return whether a token (dimension 2) may attend to another (3), (B, 1, T, T), bool."""
        length = self.segments.shape[1]
        same = self.segments[:, :, None] == self.segments[:, None, :]
        causal = torch.ones(length, length, dtype=torch.bool, device=same.device).tril()
        return (same & causal)[:, None]


def collate(rows: Sequence[Row]) -> RowBatch:
    """Return ``rows`` as tensors; without any, a row of padding."""
    length = padded_length(max((length_of(row) for row in rows), default=2), LENGTHS)
    rows = rows or [[]]

    def column(parts: Sequence[Sequence[Sequence[int]]], fill: int) -> Tensor:
        joined = [[value for part in row for value in part] for row in parts]
        return padded(joined, length, fill, torch.int64)

    return RowBatch(
        column([[pair.token_ids for pair in row] for row in rows], 0),
        column([[range(len(pair)) for pair in row] for row in rows], 0),
        column([[[n] * len(pair) for n, pair in enumerate(row)] for row in rows], -1),
        # None for a pair's first token, so that the pair before it does not predict it.
        column([[pair.labels for pair in row] for row in rows], NO_LABEL),
        column([[pair.golden for pair in row] for row in rows], 0).bool(),
        column([[pair.stated for pair in row] for row in rows], 0).bool(),
        column([[pair.weighted for pair in row] for row in rows], 0).bool(),
        column([[[KINDS.get(pair.label, 0)] * len(pair) for pair in row] for row in rows], 0),
    )


def length_of(row: Row) -> int:
    """Return the number of tokens of ``row``."""
    return sum(map(len, row))


def in_parts(rows: Sequence[Row], max_tokens: int) -> Iterator[Sequence[Row]]:
    """Yield ``rows`` in parts of at most ``max_tokens`` tokens, padding included.

    A longer row is a part of its own. Without rows there is one part, which is empty.
    """
    part: list[Row] = []
    for row in rows:
        longest = max(map(length_of, [*part, row]))
        if part and padded_length(longest, LENGTHS) * (len(part) + 1) > max_tokens:
            yield part
            part = []
        part.append(row)
    yield part
