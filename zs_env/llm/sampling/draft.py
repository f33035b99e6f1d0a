"""A text that is being written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Shadow(NamedTuple):
    """Context that a draft is contrasted with (`zs_env.llm.sampling.drawing.contrasted`).

    Attributes:
        draft: draft in a slot of its own, which is given the tokens that the other one draws.
        weight: weight of the contrast, above 0.
    """

    draft: Draft
    weight: float


class Draft:
    """Context and the tokens that continue it, of one sequence in a slot of the generator.

    Args:
        slot: number of the slot.
        key: what the random draws follow from.
        temperature: divisor of the logits.
        top_p: probability that the likeliest tokens to draw from have together.
        greedy: whether to take the likeliest token.
        cached: tokens whose keys and values the cache holds in the slot already.

    Attributes:
        num_cached: number of tokens whose keys and values are in the cache.
        unread: tokens that must be read before the next is sampled.
        written: tokens of the turn so far.
        log_probs: log-probability of each.
        values: output of the generator's value head before each, if it has one.
        finished: whether the turn has ended.
        shadow: begun draft with another context, which the tokens are contrasted with; None for
            none. Set it before the draft is added to the generator.
    """

    def __init__(
        self,
        slot: int,
        key: int,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        greedy: bool = False,
        cached: Sequence[int] = (),
    ) -> None:
        self.slot = slot
        self.temperature = temperature
        self.top_p = top_p
        self.greedy = greedy
        self.num_cached = len(cached)
        self.unread: list[int] = []
        self.written: list[int] = []
        self.log_probs: list[float] = []
        self.values: list[float] = []
        self.finished = True
        self.shadow: Shadow | None = None
        self._ids = list(cached)
        self._random = np.random.Generator(np.random.Philox(key))

    @property
    def cached(self) -> list[int]:
        """Tokens whose keys and values are in the cache."""
        return self._ids[: self.num_cached]

    def begin(self, token_ids: Sequence[int], is_over: Callable[[Sequence[int]], bool]) -> None:
        """Begin a turn; of its context, what is in the cache is not read again.

        Args:
            token_ids: the whole context.
            is_over: function of the tokens of the turn, the last of which is new: whether it ends.
        """
        ids = list(token_ids)
        # The cache fits only if the context continues the one that was read.
        if ids[: self.num_cached] != self._ids[: self.num_cached]:
            self.num_cached = 0
        self.unread = ids[self.num_cached :]
        self._ids = ids
        self.written, self.log_probs, self.values = [], [], []
        self.finished = False
        self._is_over = is_over

    @property
    def rows(self) -> list[Draft]:
        """The draft and, if it has one, its shadow: they are read and go on together."""
        return [self] if self.shadow is None else [self, self.shadow.draft]

    def skip(self, count: int) -> None:
        """Take the first ``count`` unread tokens as read: the cache holds them."""
        self.num_cached += count
        self.unread = self.unread[count:]

    def uniform(self) -> float:
        """Return the next random number of the sequence, in [0, 1)."""
        return float(self._random.random())

    def append(self, token: int, log_prob: float, value: float | None) -> None:
        """Add a token that was sampled after the unread tokens; they are in the cache now."""
        self.num_cached += len(self.unread)
        self.unread = [token]
        self._ids.append(token)
        self.written.append(token)
        self.log_probs.append(log_prob)
        if value is not None:
            self.values.append(value)
        self.finished = self._is_over(self.written)
        if self.shadow is not None:
            self.shadow.draft.append(token, log_prob, None)
            self.shadow.draft.finished = self.finished
