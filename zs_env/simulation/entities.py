"""What of the embedded world is held out, and other names in place of its own."""

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

    def named_in(self, query: str) -> str | None:
        """Return the name of the one entity that ``query`` names; None if it names none or more."""
        reading = reading_of(self.world, query)
        if not reading.named or len(reading.entities) != 1:
            return None
        return self.world.names[reading.entities[0]]

    def invented(self, name: str, draw: Stream) -> str | None:
        """Draw a name of the form of ``name`` that no entity has; None without one.

        It has the first word of one entity of its type and the last of another, whose pages may be
        targets of a training pair.
        """
        names = self._names_of_type(name)
        if not names:
            return None
        for _ in range(TRIES):
            one, another = draw.choice(names), draw.choice(names)
            first, last = one.split()[0], another.split()[-1]
            other = f"{first} {last}"
            shown = self.may_show(one, False) and self.may_show(another, False)
            if shown and first != last and self.world.find(other) is None:
                return other
        return None

    def another(self, name: str, texts: Sequence[str], draw: Stream) -> str | None:
        """Draw an entity of the type of ``name`` that ``texts`` do not name; None without one.

        It is one whose page may be a target of a training pair.
        """
        names = self._names_of_type(name)
        if not names:
            return None
        for _ in range(TRIES):
            other = draw.choice(names)
            if other == name or not self.may_show(other, False):
                continue
            if not any(_pattern(other).search(text) for text in texts):
                return other
        return None

    def _names_of_type(self, name: str) -> Sequence[str]:
        """Return the names of all entities of the type of ``name``; empty if it is none."""
        entity = self.world.find(name)
        if entity is None:
            return ()
        span = self.world.spans[self.world.types[entity]]
        return self.world.names[span.start : span.stop]


def swapped(documents: Sequence[Document], name: str, other: str) -> tuple[Document, ...]:
    """Return ``documents`` with ``other`` in place of ``name``, in titles and texts."""
    return tuple(
        Document(swapped_text(each.text, name, other), swapped_text(each.title, name, other))
        for each in documents
    )


def swapped_text(text: str, name: str, other: str) -> str:
    """Return ``text`` with ``other`` in place of ``name``, as whole words in any case."""
    return _pattern(name).sub(other, text)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
