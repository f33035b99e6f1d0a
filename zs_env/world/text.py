"""English of the embedded world: statements of facts, the corpus, the closed vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from zs_env import actions, keyed_random, prompts
from zs_env.world import marks, solver
from zs_env.world.graph import Fact, FactGraph
from zs_env.world.sizes import SIZES, Blueprint, find_blueprint

PASSAGE_WORDS = 30
"""Words of a passage of the corpus, approximately."""

SIMULATION_WORDS = "useful noisy quality query question answer documents"
"""Words of prompts for a simulation LLM that lives in this world."""

LINE_BREAK = "\n"
"""Token between documents that a simulation LLM writes; other texts are read without it."""

TOKEN_PATTERN = r"</?\w+>|\w+|[^\w\s]"
"""Pattern of a token: a tag, a word or a punctuation mark."""

_TOKEN = re.compile(TOKEN_PATTERN)
_FIELD = re.compile(r"\{\w+\}")


class PageSection(NamedTuple):
    """Passage of the corpus: a part of the page of the entity called ``title``."""

    id: str
    title: str
    text: str


def state(world: FactGraph, fact: Fact, phrasing: int) -> str:
    """Return the sentence that states ``fact`` in a phrasing of its relation, from 0."""
    template = fact.relation.statements[phrasing]
    return template.format(s=world.names[fact.subject], o=world.names[fact.object])


def tell(world: FactGraph, fact: Fact, phrasing: int) -> str:
    """Return the sentence that states ``fact``, with its date if the relation is one that changes.

    A fact of such a relation that never held gets the date of the one that holds.
    """
    sentence = state(world, fact, phrasing)
    versions = world.versions(fact)
    if versions is None:
        return sentence
    former, current = versions
    return marks.dated(sentence, former.year if fact == former.fact else current.year)


def statements(world: FactGraph, fact: Fact) -> list[str]:
    """Return all sentences that state ``fact``."""
    return [state(world, fact, phrasing) for phrasing in range(len(fact.relation.statements))]


def corpus(world: FactGraph) -> Iterator[PageSection]:
    """Yield the passages of the pages of the world's entities; each fact is stated once.

    What held before a fact that changed is stated before it.
    """
    draws = keyed_random.integers(3, world.facts.size, "corpus", world.seed)
    phrasings = draws.reshape(world.facts.shape)
    for entity in range(world.num_entities):
        facts = world.facts_of(entity)
        sentences = [
            tell(world, version, phrasing % len(fact.relation.statements))
            for fact, phrasing in zip(facts, phrasings[entity].tolist(), strict=False)
            for version in all_versions(world, fact)
        ]
        for number, text in enumerate(_packed(sentences)):
            yield PageSection(f"{entity}-{number}", world.names[entity], text)


def all_versions(world: FactGraph, fact: Fact) -> list[Fact]:
    """Return ``fact``, after what held before it, if anything did."""
    versions = world.versions(fact)
    return [fact] if versions is None else [version.fact for version in versions]


def _packed(sentences: list[str]) -> list[str]:
    """Join sentences, in order, to texts of about `PASSAGE_WORDS` words."""
    texts: list[str] = []
    current: list[str] = []
    length = 0
    for sentence in sentences:
        num_words = len(sentence.split())
        if current and length + num_words > PASSAGE_WORDS:
            texts.append(" ".join(current))
            current, length = [], 0
        current.append(sentence)
        length += num_words
    return [*texts, " ".join(current)]


def tokenize(text: str) -> list[str]:
    """Split ``text`` into lower-cased words, tags and punctuation marks, as in `vocabulary`."""
    return _TOKEN.findall(text.lower())


def vocabulary(size: str = "small") -> tuple[str, ...]:
    """Return all tokens of the texts of embedded worlds of ``size`` and environments.

    The vocabulary is closed and does not depend on the seed: it covers every question, document,
    prompt and correction, the scripted agents' turns, and the marks of a simulation LLM. It is the
    same for all sizes but ``tiny``. Words of ``small`` with plain statements come first, sorted,
    then all others, sorted. That of ``tiny`` is a part of the first ones, and covers the short
    prompt `zs_env.prompts.TINY_PROMPT` in place of the default one.

    Raises:
        ValueError: the size is unknown.
    """
    if size == "tiny":
        return tuple(sorted(_plain_words(find_blueprint(size))))
    find_blueprint(size)
    return _full_vocabulary()


@cache
def _full_vocabulary() -> tuple[str, ...]:
    # Words that came later have the greater ids, so that those of older policies keep theirs.
    hard = SIZES["hard"]
    texts = [
        *(form for forms in hard.descriptions.values() for form in forms),
        *marks.HEDGES,
        *(marks.EITHER, marks.DATED, marks.CORRECTED, SIMULATION_WORDS),
    ]
    more = _words(_FIELD.sub(" ", text) for text in texts) | _plain_words(hard) | {LINE_BREAK}
    first = _plain_words(SIZES["small"])
    return (*sorted(first), *sorted(more - first))


def _plain_words(blueprint: Blueprint) -> set[str]:
    templates = [t for relation in blueprint.relations for t in relation.templates]
    texts = [
        *(_FIELD.sub(" ", template) for template in templates),
        *blueprint.name_words(),
        *(actions.tagged(name, "") for name in actions.TAG_NAMES),
        *(actions.NO_ACTION, actions.EMPTY_QUERY, prompts.NO_DOCUMENTS),
        *(solver.NOT_UNDERSTOOD, solver.FOUND, solver.OUT_OF_TURNS, solver.UNKNOWN),
        solver.NEEDED.format(what=""),
        prompts.render_prompt(blueprint.prompt, ""),
        prompts.render_correction(""),
        *(f"Doc {number} ():" for number in range(1, blueprint.max_documents + 1)),
    ]
    return _words(texts)


def _words(texts: Iterable[str]) -> set[str]:
    return {token for text in texts for token in tokenize(text)}
