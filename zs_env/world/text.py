"""English of the embedded world: statements of facts, the corpus, the closed vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from zs_env import actions, keyed_random, prompts
from zs_env.world import solver
from zs_env.world.graph import Fact, FactGraph
from zs_env.world.sizes import Blueprint, find_blueprint

PASSAGE_WORDS = 30
"""Words of a passage of the corpus, approximately."""

TOKEN_PATTERN = r"</?\w+>|\w+|[^\w\s]"
"""Pattern of a token: a tag, a word or a punctuation mark."""

_TOKEN = re.compile(TOKEN_PATTERN)
_FIELD = re.compile(r"\{[soab]\}")


class PageSection(NamedTuple):
    """Passage of the corpus: a part of the page of the entity called ``title``."""

    id: str
    title: str
    text: str


def state(world: FactGraph, fact: Fact, phrasing: int) -> str:
    """Return the sentence that states ``fact`` in a phrasing of its relation, from 0."""
    template = fact.relation.statements[phrasing]
    return template.format(s=world.names[fact.subject], o=world.names[fact.object])


def statements(world: FactGraph, fact: Fact) -> list[str]:
    """Return all sentences that state ``fact``."""
    return [state(world, fact, phrasing) for phrasing in range(len(fact.relation.statements))]


def corpus(world: FactGraph) -> Iterator[PageSection]:
    """Yield the passages of the pages of the world's entities; each fact is stated once."""
    draws = keyed_random.integers(3, world.facts.size, "corpus", world.seed)
    phrasings = draws.reshape(world.facts.shape)
    for entity in range(world.num_entities):
        facts = world.facts_of(entity)
        sentences = [
            state(world, fact, phrasing % len(fact.relation.statements))
            for fact, phrasing in zip(facts, phrasings[entity].tolist(), strict=False)
        ]
        for number, text in enumerate(_packed(sentences)):
            yield PageSection(f"{entity}-{number}", world.names[entity], text)


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
    """Return all tokens, sorted, of the texts of embedded worlds of ``size`` and environments.

    The vocabulary is closed and does not depend on the seed: it covers every question, document,
    prompt and correction, and the scripted agent's turns. It is the same for ``small``, ``medium``
    and ``large``; that of ``tiny`` is a part of it, and covers the short prompt
    `zs_env.prompts.TINY_PROMPT` in place of the default one.

    Raises:
        ValueError: the size is unknown.
    """
    return _vocabulary(find_blueprint(size))


@cache
def _vocabulary(blueprint: Blueprint) -> tuple[str, ...]:
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
    return tuple(sorted({token for text in texts for token in tokenize(text)}))
