"""Embedded search engine: a program that writes documents about the embedded world.

It stands in for the simulation LLM and gets the same input: query, question, golden answers and
whether to be useful. A useful document states what the query asks for. A noisy document is about
the same things but never states it: each draws its kind (`zs_env.world.noise`), such as a similar
entity or a doubtful statement. Neither contains a golden answer that the query neither names nor
asks for.

About a fact that changed (in the hard world), useful documents state in turn what holds and what
held before, with their dates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines.base import SearchEngine
from zs_env.keyed_random import Stream
from zs_env.rewards import normalize_answer
from zs_env.world import Fact, World, load_world, marks
from zs_env.world.linker import Reading, read_query
from zs_env.world.noise import (
    BESIDE,
    CONTRADICTED,
    DATED,
    FALSE,
    HEDGED,
    MARKED,
    NAMESAKE,
    NOISE_KINDS,
    PLAIN,
    check_shares,
    shares_of,
)
from zs_env.world.text import all_versions, state, tell
from zs_env.world.words import EVENT_YEARS

WRITER = 1
"""Version of the writer, part of `identity`: a version, a request and a world decide a document."""

MIN_TRIES = 24
"""Facts that are tried to fill a document, besides one for each word wanted."""


class WorldEngine(SearchEngine):
    """Engine that answers free-form queries about ``world``.

    Args:
        world: world that documents are about.
        shares: share of each kind of noisy documents (`zs_env.world.noise.NOISE_KINDS`).

    Raises:
        ValueError: a kind is unknown, a share negative, or none above 0; or the tiny world, whose
            vocabulary has no words for them, is to have hedged, dated or contradicted documents.
    """

    def __init__(self, world: World, shares: Mapping[str, int] = PLAIN) -> None:
        self.world = world
        self.shares = check_shares(shares)
        marked = [kind for kind in MARKED if self.shares[kind]]
        if world.size == "tiny" and marked:
            raise ValueError(
                f"the tiny world has no words for {', '.join(marked)} documents: use "
                "`world_size` 'small', or only the kinds false, namesake and beside."
            )
        self._kinds = tuple(kind for kind in NOISE_KINDS for _ in range(self.shares[kind]))

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Write ``top_k`` documents of about ``document_words`` words for each request."""
        return [self._answer(request) for request in requests]

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """Write the documents of one request, quickly enough for the event loop itself."""
        return self._answer(request)

    def identity(self) -> dict[str, Any]:
        """Return the world, the version of the writer, and the kinds of noise if not plain."""
        about = {"world_seed": self.world.seed, "world_size": self.world.size, "writer": WRITER}
        return about if self.shares == check_shares(PLAIN) else {**about, "noise": self.shares}

    def _answer(self, request: SearchRequest) -> SearchResult:
        reading = read_query(self.world, request.query)
        writer = _Writer(self.world, request, reading, self._kinds)
        write = writer.noisy if request.noisy else writer.useful
        return SearchResult(tuple(Document(write(rank)) for rank in range(request.top_k)))


class _Sentence(NamedTuple):
    """Sentence, or two that belong together, and the fact that it is about."""

    fact: Fact
    text: str


class _Writer:
    """Writer of the documents of one request."""

    def __init__(
        self, world: World, request: SearchRequest, reading: Reading, kinds: tuple[str, ...]
    ) -> None:
        self.world = world
        self.kinds = kinds
        self.draw = Stream(request.key, request.query)
        self.words = request.document_words
        self.entities = reading.entities or [self._anything(request.question)]
        self.about = [fact for entity in self.entities for fact in world.facts_of(entity)]
        # A query that is only a name asks for all facts about it.
        self.asked = self.about if reading.bare else reading.asked
        self.unearned = self._unearned(request, reading)
        self.first_version = self.draw.integer(2) if world.blueprint.changing else 0

    def useful(self, rank: int) -> str:
        """Write the document at ``rank``: one asked fact, and others until it is long enough."""
        lead = []
        if self.asked:
            cycle, place = divmod(rank, len(self.asked))
            versions = all_versions(self.world, self.asked[place])
            lead = [self._tell(versions[(cycle + self.first_version) % len(versions)])]
        return self._compose(lead, self._fillers(self.about), self.unearned)

    def noisy(self, rank: int) -> str:
        """Write the document at ``rank``, of a kind of noise that is drawn for it."""
        # If the query names no known relation, any fact about its entities might be asked for.
        withheld = self.asked or self.about
        names = self.world.names
        sought = [fact.subject if self._is_inverse(fact) else fact.object for fact in withheld]
        forbidden = [*self.unearned, *(f" {names[entity].lower()} " for entity in sought)]
        kind = self.draw.choice(self.kinds)
        lead = [] if kind == BESIDE else [self._mislead(withheld[rank % len(withheld)], kind)]
        others = [fact for fact in self.about if fact not in withheld]
        return self._compose(lead, self._fillers(others), forbidden)

    def _mislead(self, fact: Fact, kind: str) -> _Sentence:
        """Return a sentence of a noisy document of ``kind`` about what ``fact`` states."""
        if kind == NAMESAKE:
            return self._tell(self._similar(fact))
        versions = all_versions(self.world, fact)
        if kind == DATED and len(versions) > 1:
            return self._tell(versions[0])
        wrong = self._false_lead(fact)
        if kind == FALSE:
            return self._tell(wrong)
        sentence = self._state(wrong)
        if kind == DATED:
            return _Sentence(wrong, marks.dated(sentence, self.draw.choice(EVENT_YEARS)))
        if kind == CONTRADICTED:
            return _Sentence(wrong, marks.corrected(sentence, self.draw.choice(EVENT_YEARS)))
        hedge = self.draw.integer(len(marks.HEDGES) + 1)
        other = self._false_lead(fact)
        if hedge == len(marks.HEDGES) and other != wrong:
            return _Sentence(wrong, self._state_either(wrong, other))
        return _Sentence(wrong, marks.hedged(sentence, hedge % len(marks.HEDGES)))

    def _state_either(self, first: Fact, second: Fact) -> str:
        """Return a sentence that states one of two facts, which differ in subject or object."""
        names = self.world.names

        def either(one: int, other: int) -> str:
            if one == other:
                return names[one]
            return marks.EITHER.format(a=names[one], b=names[other])

        template = self.draw.choice(first.relation.statements)
        subject = either(first.subject, second.subject)
        return template.format(s=subject, o=either(first.object, second.object))

    def _tell(self, fact: Fact) -> _Sentence:
        phrasing = self.draw.integer(len(fact.relation.statements))
        return _Sentence(fact, tell(self.world, fact, phrasing))

    def _state(self, fact: Fact) -> str:
        return state(self.world, fact, self.draw.integer(len(fact.relation.statements)))

    def _is_inverse(self, fact: Fact) -> bool:
        """Return whether the query gives the object of ``fact`` and asks for the subject."""
        described = fact.relation.name in self.world.blueprint.descriptions
        return described and fact.subject not in self.entities

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
        if self._is_inverse(fact):
            return fact._replace(subject=self._similar_entity(fact.subject))
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

    def _compose(self, lead: list[_Sentence], fillers: Iterator[Fact], forbidden: list[str]) -> str:
        """Write about ``self.words`` words: sentences in random order, no forbidden phrase."""
        stated: dict[Fact, str] = {}
        length = 0
        more = map(self._tell, islice(fillers, MIN_TRIES + self.words))
        for fact, sentence in chain(lead, more):
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
    plain = f" {text.lower().replace('.', '').replace(',', '')} "  # "As of 1958, ..."
    return any(phrase in plain for phrase in phrases)


def load(
    world_seed: int = 0,
    world_size: str = "small",
    mixture: str | None = None,
    *,
    false: int = 0,
    namesake: int = 0,
    beside: int = 0,
    hedged: int = 0,
    dated: int = 0,
    contradicted: int = 0,
) -> WorldEngine:
    """Make the engine of the world of that seed and size.

    Args:
        world_seed: seed of the world.
        world_size: size of the world.
        mixture: shares of the kinds of noisy documents by name: ``plain``, as by default, or
            ``natural`` (`zs_env.world.noise.MIXTURES`).
        false: share of plain falsehoods (`zs_env.world.noise.NOISE_KINDS` explains all kinds).
        namesake: share of facts about entities of similar names.
        beside: share of other facts about the right entity.
        hedged: share of doubtful statements.
        dated: share of statements of what does not hold any more.
        contradicted: share of statements that a newer page denies.

    Raises:
        ValueError: the mixture is unknown, or given beside shares; a share is negative; or the
            tiny world has no words for a kind.
    """
    shares = {
        FALSE: false, NAMESAKE: namesake, BESIDE: beside,
        HEDGED: hedged, DATED: dated, CONTRADICTED: contradicted,
    }  # fmt: skip
    return WorldEngine(load_world(world_seed, world_size), shares_of(mixture, shares))
