"""Documents that a simulation LLM is to write for a search, useful and noisy.

A noisy document neither states a fact that the query asks for nor holds a golden answer that the
query does not name. In the
embedded world facts are known, and each document is looked at. Elsewhere the judge has spoken of
the documents that it saw as a whole: those of a useful search are noise for no query, those behind
them are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zs_env.documents import Document, clean_documents
from zs_env.engines.document_forms import parse_documents
from zs_env.keyed_random import Stream
from zs_env.prompts import document_lines
from zs_env.rewards import normalize_answer
from zs_env.rules import DOCUMENT_SLACK
from zs_env.simulation.entities import Entities
from zs_env.simulation.pair import EARLIER, FINAL, UNKNOWN
from zs_env.simulation.recipe import Recipe
from zs_env.simulation.searches import CollectedSearch
from zs_env.simulation.truth import (
    asked_facts,
    facts_in,
    holds_golden_answer,
    is_final,
    reading_of,
)
from zs_env.world.graph import Fact

ENGINE, DEEPER = "engine", "deeper"

TOO_FEW = "too few noisy documents"
TOO_FEW_USEFUL = "too few documents that may be shown"
NOT_SHOWN = "useful documents are not among those shown"
UNREADABLE = "documents cannot be read back"


@dataclass(frozen=True)
class Target:
    """Documents to write, or why there are none.

    Attributes:
        documents: the documents; empty if there are none to be had.
        hop: hop that the search is of, see `zs_env.simulation.pair.Pair`.
        origin: ``engine``, as the policy got them, or ``deeper``.
        reason: why there are none; "" if there are.
        stated: names that the documents give as what the query asks for, in the embedded world.
    """

    documents: tuple[Document, ...]
    hop: str = UNKNOWN
    origin: str = ENGINE
    reason: str = ""
    stated: tuple[str, ...] = ()


class Noise(NamedTuple):
    """Documents that are noise for a search.

    Attributes:
        documents: the documents, best results first.
        hop: hop that the search is of.
        shown: documents that the policy got.
    """

    documents: tuple[Document, ...]
    hop: str
    shown: tuple[Document, ...]

    def target(self, top_k: int, draw: Stream | None = None) -> Target:
        """Return the first ``top_k`` as a target, or, with ``draw``, random ones in their order."""
        count = len(self.documents)
        if count < top_k:
            return Target((), reason=TOO_FEW)
        places = range(count) if draw is None else draw.shuffled(range(count))
        documents = tuple(self.documents[place] for place in sorted(places[:top_k]))
        origin = ENGINE if documents == self.shown[:top_k] else DEEPER
        return _readable(Target(documents, self.hop, origin))


class Targets:
    """Finds the documents for one search after the other.

    Args:
        recipe: options.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def useful(
        self,
        search: CollectedSearch,
        deeper: Sequence[Document],
        entities: Entities | None,
        held_out: bool,
        top_k: int,
        judged: int | None = None,
    ) -> Target:
        """Return the useful documents of a search that is judged useful.

        Args:
            search: search.
            deeper: first results of its query, as many as there are.
            entities: what may be shown, for a search about the embedded world.
            held_out: whether the pair is held out.
            top_k: number of documents.
            judged: number of first documents that the judge saw; None for all.
        """
        shown = self._clean(search.documents)
        if entities is None:
            return self._useful_as_judged(search, shown, top_k, judged)
        pages = [d for d in _joined(shown, deeper) if entities.may_show(d.title, held_out)]
        documents = tuple(pages[:top_k])
        if len(documents) < top_k:
            return Target((), reason=TOO_FEW_USEFUL)
        asked = asked_facts(entities.world, search.query)
        stated = [f for d in documents for f in facts_in(entities.world, asked, d.text)]
        if not stated:
            return Target((), reason=NOT_SHOWN)
        final = is_final(stated, entities.world, search.golden_answers)
        origin = ENGINE if documents == shown[: len(documents)] else DEEPER
        names = dict.fromkeys(_asked_name(fact, entities, search.query) for fact in stated)
        return _readable(
            Target(documents, FINAL if final else EARLIER, origin, stated=tuple(names))
        )

    def noise(
        self,
        search: CollectedSearch,
        deeper: Sequence[Document],
        entities: Entities | None,
        held_out: bool,
        useful: bool,
        judged: int | None = None,
    ) -> Noise:
        """Return all documents that are noise for a search.

        Args:
            search: search.
            deeper: first results of its query, as many as there are.
            entities: what may be shown, for a search about the embedded world.
            held_out: whether the pair is held out.
            useful: whether the judge takes the search for useful.
            judged: number of first documents that the judge saw; None for all.
        """
        shown = self._clean(search.documents)
        candidates = _joined(shown, deeper)
        if entities is None:
            hop = UNKNOWN
            if useful:
                seen = shown[:judged]
                spoken_of = {*seen, *shown[: max(self._recipe.top_k)]}
                candidates = [each for each in candidates if each not in spoken_of]
                hop = _hop_of_documents(seen, search)
        else:
            asked = asked_facts(entities.world, search.query)
            pages = [each for each in candidates if entities.may_show(each.title, held_out)]
            candidates = [
                each
                for each in pages[: self._recipe.depth]
                if not facts_in(entities.world, asked, each.text)
            ]
            hop = _hop_of_query(asked, entities, search.golden_answers)
        own = self._own_titles(search, entities)
        documents = tuple(
            document
            for document in candidates
            if not holds_golden_answer([document], search.golden_answers, search.query)
            and not own(document.title)
        )
        return Noise(documents, hop, shown)

    def _useful_as_judged(
        self, search: CollectedSearch, shown: Sequence[Document], top_k: int, judged: int | None
    ) -> Target:
        documents = tuple(shown[:top_k])
        if len(documents) < top_k:
            return Target((), reason=TOO_FEW_USEFUL)
        hop = _hop_of_documents(documents, search)
        if len(shown[:judged]) > len(documents) and hop != FINAL:
            # The judge may have meant a document that is cut off.
            return Target((), reason=NOT_SHOWN)
        return _readable(Target(documents, hop))

    def _clean(self, documents: Sequence[Document]) -> tuple[Document, ...]:
        return tuple(clean_documents(documents, DOCUMENT_SLACK * self._recipe.document_words))

    def _own_titles(self, search: CollectedSearch, entities: Entities | None) -> _OwnTitles:
        if self._recipe.own_page_noise:
            return _OwnTitles(frozenset(), "")
        if entities is None:
            return _OwnTitles(frozenset(), search.query)
        reading = reading_of(entities.world, search.query)
        own = {fact.subject for fact in reading.asked} | set(reading.entities * reading.named)
        return _OwnTitles(frozenset(entities.world.names[entity] for entity in own), "")


@dataclass(frozen=True)
class _OwnTitles:
    """Titles of the pages of what is asked about: the given ones, and those in the query."""

    titles: frozenset[str]
    query: str

    def __call__(self, title: str) -> bool:
        words = normalize_answer(title)
        in_query = bool(words) and f" {words} " in f" {normalize_answer(self.query)} "
        return title in self.titles or in_query


def _hop_of_documents(documents: Iterable[Document], search: CollectedSearch) -> str:
    holds = holds_golden_answer(documents, search.golden_answers, search.query)
    return FINAL if holds else EARLIER


def _hop_of_query(asked: Sequence[Fact], entities: Entities, golden_answers: Sequence[str]) -> str:
    if not asked:
        return UNKNOWN
    return FINAL if is_final(asked, entities.world, golden_answers) else EARLIER


def _asked_name(fact: Fact, entities: Entities, query: str) -> str:
    """Return the end of ``fact`` that ``query`` asks for: its object, unless that is named."""
    subject, name = (entities.world.names[entity] for entity in (fact.subject, fact.object))
    return subject if name.lower() in query.lower() else name


def _joined(first: Sequence[Document], more: Sequence[Document]) -> list[Document]:
    return list(dict.fromkeys([*first, *more]))


def _readable(target: Target) -> Target:
    """Return ``target`` if what is to be written is read as the same documents."""
    documents = list(target.documents)
    if parse_documents(document_lines(documents), len(documents)) == documents:
        return target
    return Target((), reason=UNREADABLE)
