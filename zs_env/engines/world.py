"""Embedded search engine: a program that writes documents about the embedded world.

It stands in for the simulation LLM and gets the same input: query, question, golden answers and
whether to be useful. A useful document states what the query asks for. A noisy document is about
the same things but never states it: it gives other relations, similar entities, or false facts.
Neither contains a golden answer that the query neither names nor asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines.base import SearchEngine
from zs_env.keyed_random import Stream
from zs_env.rewards import normalize_answer
from zs_env.world import Fact, World, load_world
from zs_env.world.linker import Reading, read_query
from zs_env.world.text import state

WRITER = 1
"""Version of the writer, part of `identity`: a version, a request and a world decide a document."""

MIN_TRIES = 24
"""Facts that are tried to fill a document, besides one for each word wanted."""


class WorldEngine(SearchEngine):
    """Engine that answers free-form queries about ``world``.

    Args:
        world: world that documents are about.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Write ``top_k`` documents of about ``document_words`` words for each request."""
        return [self._answer(request) for request in requests]

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """Write the documents of one request, quickly enough for the event loop itself."""
        return self._answer(request)

    def identity(self) -> dict[str, Any]:
        """Return the world and the version of the writer."""
        return {"world_seed": self.world.seed, "world_size": self.world.size, "writer": WRITER}

    def _answer(self, request: SearchRequest) -> SearchResult:
        reading = read_query(self.world, request.query)
        writer = _Writer(self.world, request, reading)
        write = writer.noisy if request.noisy else writer.useful
        return SearchResult(tuple(Document(write(rank)) for rank in range(request.top_k)))


class _Writer:
    """Writer of the documents of one request."""

    def __init__(self, world: World, request: SearchRequest, reading: Reading) -> None:
        self.world = world
        self.draw = Stream(request.key, request.query)
        self.words = request.document_words
        self.entities = reading.entities or [self._anything(request.question)]
        self.about = [fact for entity in self.entities for fact in world.facts_of(entity)]
        # A query that is only a name asks for all facts about it.
        self.asked = self.about if reading.bare else reading.asked
        self.unearned = self._unearned(request, reading)

    def useful(self, rank: int) -> str:
        """Write the document at ``rank``: one asked fact, and others until it is long enough."""
        lead = [self.asked[rank % len(self.asked)]] if self.asked else []
        return self._compose(lead, self._fillers(self.about), self.unearned)

    def noisy(self, rank: int) -> str:
        """Write the document at ``rank``: a false fact, a similar entity, or other facts."""
        # If the query names no known relation, any fact about its entities might be asked for.
        withheld = self.asked or self.about
        names = self.world.names
        forbidden = [*self.unearned, *(f" {names[fact.object].lower()} " for fact in withheld)]
        target = withheld[rank % len(withheld)]
        mislead = self.draw.choice((self._false_lead, self._similar, None))
        lead = [mislead(target)] if mislead else []
        others = [fact for fact in self.about if fact not in withheld]
        return self._compose(lead, self._fillers(others), forbidden)

    def _unearned(self, request: SearchRequest, reading: Reading) -> list[str]:
        """Return the golden answers that the query neither names nor asks for, in order."""
        earned = {fact.object for fact in self.asked} | {fact.subject for fact in self.asked}
        earned |= set(self.entities) if reading.named else set()
        names = {normalize_answer(self.world.names[entity]) for entity in earned}
        golden = {normalize_answer(answer) for answer in request.golden_answers}
        return [f" {answer} " for answer in sorted(golden - names) if answer]

    def _anything(self, question: str) -> int:
        """Draw an entity for a query that names none: one similar to an entity of the question."""
        named = read_query(self.world, question).entities
        entity = named[0] if named else self.draw.integer(self.world.num_entities)
        return self._similar_entity(entity)

    def _fillers(self, facts: list[Fact]) -> Iterator[Fact]:
        """Yield facts to fill a document with: ``facts`` first, then those of similar entities."""
        yield from self.draw.shuffled(facts)
        while True:
            similar = self._similar_entity(self.draw.choice(self.entities))
            yield self.draw.choice(self.world.facts_of(similar))

    def _false_lead(self, fact: Fact) -> Fact:
        """Return ``fact`` with a wrong object."""
        objects = self.world.spans[fact.relation.object]
        step = 1 + self.draw.integer(len(objects) - 1)
        wrong = objects.start + (fact.object - objects.start + step) % len(objects)
        return fact._replace(object=wrong)

    def _similar(self, fact: Fact) -> Fact:
        """Return the fact of the same relation about a similar subject."""
        return self.world.fact(self._similar_entity(fact.subject), fact.relation)

    def _similar_entity(self, entity: int) -> int:
        """Draw another entity of the same type and split, sharing a word of the name if possible.

        Facts of the other split are never stated: the policy could remember them.
        """
        span = self.world.spans[self.world.types[entity]]
        namesakes = self.world.by_word[self.draw.choice(self.world.names[entity].lower().split())]
        candidate = namesakes[self.draw.integer(len(namesakes))]
        while not (
            candidate != entity
            and candidate in span
            and self.world.is_test[candidate] == self.world.is_test[entity]
        ):
            candidate = span.start + self.draw.integer(len(span))
        return candidate

    def _compose(self, lead: list[Fact], fillers: Iterator[Fact], forbidden: list[str]) -> str:
        """Write about ``self.words`` words: sentences in random order, no forbidden phrase."""
        stated: dict[Fact, str] = {}
        length = 0
        for fact in chain(lead, islice(fillers, MIN_TRIES + self.words)):
            sentence = state(self.world, fact, self.draw.integer(len(fact.relation.statements)))
            num_words = sentence.count(" ") + 1
            if stated and length + num_words > self.words:
                break
            if fact not in stated and not _contains(sentence, forbidden):
                stated[fact] = sentence
                length += num_words
        text = " ".join(self.draw.shuffled(list(stated.values())))
        while len(stated) > 1 and _contains(text, forbidden):  # across two sentences
            stated.popitem()
            text = " ".join(self.draw.shuffled(list(stated.values())))
        return text


def _contains(text: str, phrases: list[str]) -> bool:
    plain = f" {text.lower().replace('.', '')} "
    return any(phrase in plain for phrase in phrases)


def load(world_seed: int = 0, world_size: str = "small") -> WorldEngine:
    """Make the engine of the world of that seed and size."""
    return WorldEngine(load_world(world_seed, world_size))
