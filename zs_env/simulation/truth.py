"""What documents state, by the facts of the embedded world: exact, and no matter how they look.

Pages of the corpus and texts of a tuned model are read alike: case does not count, nor do spaces
before punctuation. A statement counts as a whole sentence: one that is doubted, denied by the next
sentence, or, of a fact that changed, given with another year or none, states nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from zs_env.documents import Document
from zs_env.rewards import golden_answer_in, normalize_answer
from zs_env.world.graph import Fact, FactGraph
from zs_env.world.linker import read_query
from zs_env.world.marks import dated, is_correction
from zs_env.world.text import statements, tokenize


class Stated(NamedTuple):
    """Facts that a query asks for, and those of them that documents state.

    Attributes:
        asked: facts that the query asks for; empty if it asks for none.
        stated: those that at least one document states, in the same order.
    """

    asked: tuple[Fact, ...]
    stated: tuple[Fact, ...]

    @property
    def useful(self) -> bool:
        """Whether a fact that is asked for is stated."""
        return bool(self.stated)


def stated_facts(world: FactGraph, query: str, documents: Iterable[Document]) -> Stated:
    """Return the facts that ``query`` asks for, and which of them ``documents`` state."""
    asked = asked_facts(world, query)
    if not asked:
        return Stated((), ())
    found = {fact for document in documents for fact in facts_in(world, asked, document.text)}
    return Stated(asked, tuple(fact for fact in asked if fact in found))


def facts_in(world: FactGraph, facts: Sequence[Fact], text: str) -> list[Fact]:
    """Return those of ``facts`` that ``text`` states."""
    sentences = {sentence for sentence, denied in sentences_of(text) if not denied}
    return [fact for fact in facts if not sentences.isdisjoint(_forms(world, fact))]


def sentences_of(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the sentences of ``text``, and whether the next one denies it.

    They are in lower case, with a space between words and marks, and without full stops.
    """
    sentences = [sentence.strip() for sentence in " ".join(tokenize(text)).split(".")]
    for sentence, following in zip(sentences, [*sentences[1:], ""], strict=True):
        if sentence:
            yield sentence, is_correction(following)


def holds_golden_answer(
    documents: Iterable[Document], golden_answers: Sequence[str], query: str = ""
) -> bool | None:
    """Return whether a golden answer occurs in a title or a text, as consecutive words.

    None if that would say nothing, see `zs_env.rewards.golden_answer_in`.
    """
    texts = (f"{document.title} {document.text}" for document in documents)
    return golden_answer_in(texts, golden_answers, query)


def is_final(facts: Iterable[Fact], world: FactGraph, golden_answers: Sequence[str]) -> bool:
    """Return whether one of ``facts`` gives a golden answer: the last hop of a question."""
    golden = {normalize_answer(answer) for answer in golden_answers}
    return any(normalize_answer(world.names[fact.object]) in golden for fact in facts)


def asked_facts(world: FactGraph, query: str) -> tuple[Fact, ...]:
    """Return the facts that ``query`` asks for."""
    return tuple(reading_of(world, query).asked)


reading_of = lru_cache(maxsize=65_536)(read_query)
"""What a query of a world means, `zs_env.world.linker.read_query`, read once."""


@lru_cache(maxsize=65_536)
def _forms(world: FactGraph, fact: Fact) -> frozenset[str]:
    """Return all sentences that state ``fact``, in the form of `sentences_of`."""
    said = statements(world, fact)
    versions = world.versions(fact)
    if versions is not None:
        years = [version.year for version in versions if version.fact == fact]
        said = [dated(sentence, year) for sentence in said for year in years]
    return frozenset(" ".join(tokenize(sentence)).rstrip(" .") for sentence in said)
