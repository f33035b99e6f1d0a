"""The key-value cache of the generator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache

COLUMNS = 64
"""Columns that the cache grows by, and that a window has for new tokens."""

SPARE = -1
"""Position that padding is written to: the last column, which is never read."""

States = dict[tuple[int, str], Tensor]
"""Keys and values of each layer, (rows, heads, columns, size)."""


class Window:
    """Copy of the cache of some slots, side by side, which later calls add to and read in place.

    Args:
        length: number of positions that it has to hold now; there is room for some more.
    """

    def __init__(self, length: int) -> None:
        self.columns = length + COLUMNS
        self.states: States = {}


class SlotCache(Cache):
    """Keys and values of sequences, each in a slot and of its own length. It grows as needed.

    `select` sets the slots and positions that the next call of the model writes to.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self._states: States = {}
        self._rows = 0
        self._columns = 0
        self._window: Window | None = None

    def select(
        self, slots: Tensor, positions: Tensor, length: int, window: Window | None = None
    ) -> None:
        """Set where the next call writes, and how much it reads.

        Args:
            slots: slots of the sequences, (B,), int64, on the CPU.
            positions: positions of the new tokens, (B, T), int64, or `SPARE`.
            length: number of positions to attend to.
            window: where to read; by default the slots are gathered.
        """
        columns = length if window is None else window.columns
        self._rows = max(self._rows, int(slots.max()) + 1)
        if columns > self._columns:
            self._columns = columns + COLUMNS
        self._slots = slots.to(positions.device)
        self._positions = positions
        self._length = length
        self._window = window

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store new states, (B, heads, T, size); return all states, (B, heads, length, size)."""
        return (
            self._store((layer_idx, "keys"), key_states),
            self._store((layer_idx, "values"), value_states),
        )

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the length of the longest selected sequence."""
        return self._length

    def copy(self, source: int, targets: Tensor, length: int) -> None:
        """Copy the first ``length`` positions of slot ``source`` to the slots ``targets``, (B,)."""
        self._rows = max(self._rows, int(targets.max()) + 1)
        for name, stored in self._states.items():
            stored = self._states[name] = self._grown(stored)
            stored[targets.to(stored.device), :, :length] = stored[source, :, :length]

    def clear(self) -> None:
        """Forget all states, and free memory that others need: that of a GPU."""
        self._window = None
        if any(stored.device.type != "cpu" for stored in self._states.values()):
            self._states.clear()
            self._rows = self._columns = 0

    def _store(self, name: tuple[int, str], states: Tensor) -> Tensor:
        stored = self._states.get(name)
        # Shape and dtype show at the first call; autocast may change the dtype.
        if stored is None or stored.dtype != states.dtype:
            _, heads, _, size = states.shape
            stored = states.new_zeros(0, heads, 0, size)
        stored = self._states[name] = self._grown(stored)
        # Index tensors around a slice come first: the target has shape (B, T, heads, size).
        states = states.transpose(1, 2)
        stored[self._slots[:, None], :, self._positions] = states
        if self._window is None:
            return stored[self._slots, :, : self._length]
        near = self._window.states.get(name)
        if near is None:
            near = stored[self._slots, :, : self._window.columns + 1]
            self._window.states[name] = near
        else:
            rows = torch.arange(len(near), device=near.device)
            near[rows[:, None], :, self._positions] = states
        return near[:, :, : self._length]

    def _grown(self, stored: Tensor) -> Tensor:
        """Return ``stored`` with at least the rows and columns that are needed."""
        rows, heads, columns, size = stored.shape
        if rows >= self._rows and columns > self._columns:
            return stored
        # One column more, for padding.
        grown = stored.new_zeros(self._rows, heads, max(columns, self._columns + 1), size)
        grown[:rows, :, :columns] = stored
        return grown
