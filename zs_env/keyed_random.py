"""Random choices that depend on a key and on nothing else.

A value is a function of its key, such as ``(episode key, question id, turn)``. No state is shared,
so results do not depend on the order of calls, on threads, on the number of environments, or on
the version of a random library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Part = int | float | str

# The constants of SplitMix64.
_MASK = (1 << 64) - 1
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def derive_key(*parts: Part) -> int:
    """Hash ``parts`` to an integer in [0, 2**64). Equal parts give equal keys, on every machine."""
    # `repr` tells 1, 1.0 and "1" apart.
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def uniform(*parts: Part) -> float:
    """Return a float uniform on [0, 1), fixed by ``parts``."""
    # The upper 53 bits of the key: as many as a float holds.
    return (derive_key(*parts) >> 11) * 2.0**-53


def _mix(state: int) -> int:
    """Map 64-bit integers to each other: the finaliser of SplitMix64 (Steele et al. 2014)."""
    state = ((state ^ (state >> 30)) * _MIX_1) & _MASK
    state = ((state ^ (state >> 27)) * _MIX_2) & _MASK
    return state ^ (state >> 31)


def integers(high: int, size: int, *parts: Part) -> NDArray[np.int64]:
    """Return integers uniform on [0, high), shape (size,), int64; ``high`` is at most 2**32."""
    # SplitMix64 on arrays: uint64 wraps at 64 bits, as `_MASK` does for Python integers.
    counter = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(_GOLDEN_GAMMA)
    state = counter + np.uint64(derive_key(*parts))
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX_1)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX_2)
    state = state ^ (state >> np.uint64(31))
    # Multiply and shift, in place of a slow remainder: the upper 32 bits, scaled to [0, high).
    scaled: NDArray[np.uint64] = (state >> np.uint64(32)) * np.uint64(high) >> np.uint64(32)
    return scaled.astype(np.int64)


def permutation(size: int, *parts: Part) -> NDArray[np.int64]:
    """Return a random order of ``range(size)``, shape (size,), int64."""
    order: NDArray[np.int64] = np.argsort(integers(1 << 32, size, *parts), kind="stable")
    return order


def shuffled_index(position: int, size: int, key: int) -> int:
    """Return the element at ``position`` of a random order of ``range(size)``.

    The order is fixed by ``size`` and ``key``, and is never built: it needs no memory, so that
    hundreds of environments can each have an order of their own. A Feistel network permutes the
    cells of a nearly square grid of at least ``size`` cells, and is applied until it gives a cell
    below ``size`` (cycle walking).

    Raises:
        ValueError: ``position`` is outside [0, size).
    """
    if not 0 <= position < size:
        raise ValueError(f"position must be in [0, {size}), got {position}.")
    width = math.isqrt(size - 1) + 1  # the square root, rounded up
    height = -(-size // width)
    while True:
        row, column = divmod(position, width)
        for round_number in range(0, 4, 2):
            # Each coordinate is shifted by a hash of the other, which can be undone: a bijection.
            column = (column + _mix(key + round_number + (row << 8))) % width
            row = (row + _mix(key + round_number + 1 + (column << 8))) % height
        position = row * width + column
        if position < size:
            return position


class Stream:
    """A short sequence of random choices, all fixed by one key (SplitMix64).

    Args:
        parts: key of the choices.
    """

    __slots__ = ("_state",)

    def __init__(self, *parts: Part) -> None:
        self._state = derive_key(*parts)

    def uniform(self) -> float:
        """Draw the next float, uniform on [0, 1)."""
        return self.integer(1 << 53) * 2.0**-53

    def integer(self, high: int) -> int:
        """Draw the next integer, uniform on [0, high)."""
        self._state = (self._state + _GOLDEN_GAMMA) & _MASK
        return _mix(self._state) * high >> 64  # scaled from 64 bits to [0, high)

    def choice(self, items: Sequence[T]) -> T:
        """Draw one of ``items``, uniformly."""
        return items[self.integer(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return a new list of ``items`` in random order (Fisher-Yates)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.integer(last + 1)
            order[last], order[other] = order[other], order[last]
        return order
