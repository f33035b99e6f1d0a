"""Which slot of the cache a new text takes, so that it reads little again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, count
from operator import ne
from typing import NamedTuple

from zs_env.llm.sampling.causal_model import LEAST_PREFIX


class Place(NamedTuple):
    """Slot for a text, and what its context has in common with what the cache holds.

    Attributes:
        slot: slot that the text takes.
        source: slot that holds the beginning of its context; mostly ``slot`` itself.
        num_cached: number of tokens of that beginning; always less than the context has.
    """

    slot: int
    source: int
    num_cached: int


class Slots:
    """Free slots of a generator, and the tokens whose keys and values the cache holds in each.

    Args:
        count: number of slots, all of them free and empty.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.forget()

    @property
    def hold_any(self) -> bool:
        """Whether the cache holds anything in a free slot."""
        return bool(self._held)

    def take(self, token_ids: Sequence[int]) -> Place:
        """Take a free slot for a context; there must be one.

        A context that goes on with all that a slot holds, or with almost all, takes that slot. Any
        other takes the slot that was given back first, and what it shares with another is copied:
        the other's own text may go on later.

        Args:
            token_ids: the whole context.
        """
        most = len(token_ids) - 1  # the last token is always read: the next is drawn after it
        shared = {slot: min(num_shared(held, token_ids), most) for slot, held in self._held.items()}
        source = max(shared, key=shared.__getitem__, default=None)
        if source is None or shared[source] < LEAST_PREFIX:
            slot = self._oldest()
            return Place(slot, slot, 0)
        goes_on = len(self._held[source]) - shared[source] < LEAST_PREFIX
        slot = source if goes_on else self._oldest()
        self._held.pop(slot, None)
        return Place(slot, source, shared[source])

    def give_back(self, slot: int, cached: Sequence[int]) -> None:
        """Give back a slot in which the cache holds the tokens ``cached``."""
        self._held[slot] = cached

    def forget(self) -> None:
        """Take all slots as free and empty."""
        self._held: dict[int, Sequence[int]] = {}  # in the order in which they were given back
        self._unused = iter(range(self._count))

    def _oldest(self) -> int:
        """Take a slot that was never used, or else the one that was given back first."""
        unused = next(self._unused, None)
        if unused is not None:
            return unused
        slot = next(iter(self._held))
        del self._held[slot]
        return slot


def num_shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the number of tokens that both begin with."""
    shortest = min(len(one), len(other))
    return next(compress(count(), map(ne, one, other)), shortest)
