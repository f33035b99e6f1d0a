"""What of the embedded world is held out, and other entities in place of golden answers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zs_env import keyed_random
from zs_env.documents import Document
from zs_env.keyed_random import Stream
from zs_env.simulation.truth import reading_of
from zs_env.world import World

TRIES = 20


class Entities:
    """Entities of a world that pairs may be about.

    Args:
        world: world.
        held_out: share of the entities of the training split that are held out.
        test_pages: whether entities of the test split may be targets.
        seed: seed of the choice.
    """

    def __init__(self, world: World, held_out: float, test_pages: bool, seed: int) -> None:
        self.world = world
        self._held_out = held_out
        self._test_pages = test_pages
        self._seed = seed

    def is_held_out(self, entity: int) -> bool:
        """Return whether no training pair may be about ``entity``."""
        world = self.world
        if entity >= world.num_entities:  # years and numbers have no pages
            return False
        drawn = keyed_random.uniform("held-out entity", self._seed, world.names[entity])
        return drawn < self._held_out

    def may_show(self, title: str, held_out: bool) -> bool:
        """Return whether the page called ``title`` may be a target, of a held-out pair or not."""
        entity = self.world.find(title)
        if entity is None or entity >= self.world.num_entities:
            return True
        if self.world.is_test[entity]:
            return self._test_pages
        return held_out or not self.is_held_out(entity)

    def is_unseen_query(self, query: str) -> bool:
        """Return whether ``query`` names an entity that is held out, or asks for a fact of it."""
        reading = reading_of(self.world, query)
        named = reading.entities if reading.named else []
        subjects = [fact.subject for fact in reading.asked]
        return any(map(self.is_held_out, {*named, *subjects}))

    def another(self, name: str, texts: Sequence[str], draw: Stream) -> str | None:
        """Draw an entity of the type of ``name`` that ``texts`` do not name; None without one.

        It is one whose page may be a target of a training pair.
        """
        entity = self.world.find(name)
        if entity is None:
            return None
        span = self.world.spans[self.world.types[entity]]
        for _ in range(TRIES):
            other = self.world.names[span.start + draw.integer(len(span))]
            if other == name or not self.may_show(other, False):
                continue
            if not any(_pattern(other).search(text) for text in texts):
                return other
        return None


def swapped(documents: Sequence[Document], name: str, other: str) -> tuple[Document, ...]:
    """Return ``documents`` with ``other`` in place of ``name``, in titles and texts."""
    pattern = _pattern(name)
    return tuple(
        Document(pattern.sub(other, each.text), pattern.sub(other, each.title))
        for each in documents
    )


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
