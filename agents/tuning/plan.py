"""Which pairs are learned at which step."""

from __future__ import annotations

from collections.abc import Sequence

from agents.supervised.batches import by_length, packed
from agents.tuning.config import SFTConfig
from agents.tuning.encoding import EncodedPair
from agents.tuning.rows import LENGTHS, Row
from zs_env import keyed_random


class Plan:
    """Steps of a run; they follow from pairs, options and seed alone.

    Each epoch has all pairs, in an order of its own.

    Args:
        pairs: pairs to learn.
        config: options.

    Attributes:
        total: number of steps.
    """

    def __init__(self, pairs: Sequence[EncodedPair], config: SFTConfig) -> None:
        self._pairs = pairs
        self._config = config
        self._lengths = [len(pair) for pair in pairs]
        self._epoch, self._steps = -1, list[list[list[int]]]()
        self._ends: list[int] = []  # steps up to the end of each epoch
        while len(self._ends) < config.epochs if not config.steps else self._end < config.steps:
            self._add_epoch()
        self.total = config.steps or self._end

    def step(self, number: int) -> list[Row]:
        """Return the rows of the step ``number``, from 0, over all processes."""
        epoch = next(n for n, end in enumerate(self._ends) if number < end)
        if epoch != self._epoch:
            self._epoch, self._steps = epoch, self._plan(epoch)
        first = self._ends[epoch - 1] if epoch else 0
        return [[self._pairs[n] for n in row] for row in self._steps[number - first]]

    @property
    def _end(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _add_epoch(self) -> None:
        self._ends.append(self._end + len(self._plan(len(self._ends))))

    def _plan(self, epoch: int) -> list[list[list[int]]]:
        """Return the numbers of the pairs of each row of each step."""
        config = self._config
        order = _shuffled(len(self._pairs), "pairs", config.seed, epoch)
        if config.packing:
            rows = packed(self._lengths, order, config.row_tokens)
            size = max(config.batch_tokens // config.row_tokens, 1)
            return [rows[first : first + size] for first in range(0, len(rows), size)]
        lengths = [self._lengths[n] for n in order]
        batches = list(by_length(lengths, config.batch_tokens, LENGTHS))
        mixed = _shuffled(len(batches), "batches", config.seed, epoch)
        return [[[order[n]] for n in batches[number]] for number in mixed]


def _shuffled(count: int, name: str, seed: int, epoch: int) -> list[int]:
    numbers: list[int] = keyed_random.permutation(count, name, seed, epoch).tolist()
    return numbers
