"""Searches that find passages of the world's pages, as a real engine would."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache

from zs_env.documents import Document, SearchResult
from zs_env.keyed_random import Stream
from zs_env.world import World
from zs_env.world.explorer import namesake
from zs_env.world.plans import Lookup
from zs_env.world.text import corpus, statements


class Pages:
    """Passages of the pages about the entities of ``world``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.by_title: dict[str, list[Document]] = defaultdict(list)
        for passage in corpus(world):
            self.by_title[passage.title].append(Document(passage.text, passage.title))

    def search(self, lookup: Lookup, noisy: bool, draw: Stream) -> SearchResult:
        """Return two passages, of which the first one usually states ``lookup``; none if noisy.

        The others are of the same page, or state the same relation of a namesake.
        """
        right = self.passage(lookup.subject, lookup)
        others = [d for d in self.by_title[right.title] if d is not right]
        similar = self.passage(namesake(self.world, lookup.subject, draw), lookup)
        other = draw.choice(others) if others and draw.integer(2) else similar
        found = (similar if noisy else right, other)
        return SearchResult(found if draw.integer(3) else found[::-1])

    def passage(self, subject: int, lookup: Lookup) -> Document:
        """Return the passage that states the relation of ``lookup`` for ``subject``."""
        said = statements(self.world, self.world.fact(subject, lookup.relation))
        page = self.by_title[self.world.names[subject]]
        return next(d for d in page if any(sentence in d.text for sentence in said))


@lru_cache(maxsize=2)
def pages_of(world: World) -> Pages | None:
    """Return the pages of ``world``; None for one whose pages give dates, in several passages."""
    return None if world.blueprint.changing else Pages(world)
