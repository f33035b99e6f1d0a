"""The key-value cache of the sampler."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache


class SlotCache(Cache):
    """Keys and values of ``num_slots`` sequences, each of its own length up to ``max_length``.

    `select` sets the slots and positions that the next call of the model writes to.
    """

    def __init__(self, num_slots: int, max_length: int) -> None:
        super().__init__(layers=[])
        self.spare = max_length
        """Column that padding is written to; it is never read."""
        self._shape = (num_slots, max_length + 1)
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}

    def select(self, slots: Tensor, positions: Tensor, length: int, device: torch.device) -> None:
        """Set where the next call writes, and how much it reads.

        Args:
            slots: slots of the sequences, (B,), int64.
            positions: positions of the new tokens, (B, T), int64.
            length: number of positions to attend to.
            device: device of the model.
        """
        self._slots = slots.to(device)
        self._positions = positions.to(device)
        self._length = length

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store new states, (B, heads, T, size); return all states, (B, heads, length, size)."""
        return (
            self._store(self._keys, layer_idx, key_states),
            self._store(self._values, layer_idx, value_states),
        )

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the length of the longest selected sequence."""
        return self._length

    def _store(self, storage: dict[int, Tensor], layer: int, states: Tensor) -> Tensor:
        # Allocated at the first call, which shows shape and dtype; autocast may change the dtype.
        if layer not in storage or storage[layer].dtype != states.dtype:
            num_slots, columns = self._shape
            _, heads, _, size = states.shape
            storage[layer] = states.new_zeros(num_slots, heads, columns, size)
        stored = storage[layer]
        # Index tensors around a slice come first: the target has shape (B, T, heads, size).
        stored[self._slots[:, None], :, self._positions] = states.transpose(1, 2)
        return stored[self._slots, :, : self._length]
