"""Examples of different lengths in batches: by length, with padding, or packed into rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

OPEN_ROWS = 64
"""Rows that wait for an example that still fits."""


def by_length(lengths: Sequence[int], batch_tokens: int, multiple: int = 1) -> Iterator[list[int]]:
    """Yield batches of the numbers of examples of similar length, the shortest first.

    Args:
        lengths: length of each example, in tokens.
        batch_tokens: largest number of tokens of a batch, padding included; a longer example has a
            batch of its own.
        multiple: what padded lengths are multiples of.
    """
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        # The present example is the longest.
        if batch and padded_length(lengths[number], multiple) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(number)
    yield batch


def packed(lengths: Sequence[int], order: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Pack examples into rows: each into the fullest open row that has room for it.

    Args:
        lengths: length of each example, in tokens, at most ``row_tokens``.
        order: numbers of the examples, in the order in which they are packed.
        row_tokens: largest length of a row, in tokens.

    Returns:
        Numbers of the examples of each row.

    Raises:
        ValueError: an example is longer than a row.
    """
    rows: list[list[int]] = []
    open_rows: list[tuple[int, list[int]]] = []  # tokens, and examples
    for number in order:
        length = lengths[number]
        if length > row_tokens:
            raise ValueError(f"rows of {row_tokens} tokens cannot hold an example of {length}.")
        fitting = [n for n, (used, _) in enumerate(open_rows) if used + length <= row_tokens]
        if fitting:
            fullest = max(fitting, key=lambda n: open_rows[n][0])
            used, row = open_rows.pop(fullest)
            row.append(number)
        else:
            used, row = 0, [number]
            rows.append(row)
        open_rows.append((used + length, row))
        if len(open_rows) > OPEN_ROWS:
            open_rows.remove(max(open_rows, key=lambda each: each[0]))
    return rows


def padded_length(length: int, multiple: int) -> int:
    """Return ``length`` rounded up to a multiple of ``multiple``."""
    return length + -length % multiple


def padded(rows: Sequence[Sequence[float]], length: int, fill: float, dtype: torch.dtype) -> Tensor:
    """Return ``rows`` as one tensor, (B, length), filled up with ``fill`` on the right."""
    tensor = torch.full((len(rows), length), fill, dtype=dtype)
    for number, row in enumerate(rows):
        tensor[number, : len(row)] = torch.tensor(row, dtype=dtype)
    return tensor
