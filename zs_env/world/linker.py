"""What a free-form query is about: the entities it names and the facts it asks for."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from zs_env.world.graph import Fact, World
from zs_env.world.relations import RELATIONS, Relation

MAX_ENTITIES = 4
"""Entities of one query that are looked at."""

MAX_INVERSE = 2
"""Subjects that are returned where a query names an object, as in "novels by ..."."""

MIN_SCORE = 1.0
"""Least weight of the cue words that make a query ask for a relation."""

NEAR_BEST = 0.75
"""A relation is asked for if it scores at least this share of the best one."""

_WORD = re.compile(r"[^\W_]+")
_FUNCTION_WORDS = frozenset(
    "a an and as are at by did do does for from has have in into is it its of on onto one "
    "that the to under was whichever whom whose with".split()
)


class Reading(NamedTuple):
    """What a query means.

    Attributes:
        entities: what it names, in order; if it names nothing, what comes closest.
        asked: the facts it asks for; empty if it names no relation that its entities have.
        named: False if ``entities`` only come closest.
    """

    entities: list[int]
    asked: list[Fact]
    named: bool


def read_query(world: World, query: str) -> Reading:
    """Find the entities and facts that ``query`` means. Time is linear in its length."""
    words = _WORD.findall(query.lower())
    entities, rest = _named_entities(world, words)
    if not entities:
        return Reading(_closest_entities(world, words), [], named=False)
    asked = [fact for entity in entities for fact in _asked_facts(world, entity, rest)]
    return Reading(entities, list(dict.fromkeys(asked)), named=True)


def _named_entities(world: World, words: list[str]) -> tuple[list[int], list[str]]:
    """The entities named, longest names first come first served, and the words left over."""
    entities: list[int] = []
    rest: list[str] = []
    position = 0
    while position < len(words):
        for length in range(world.longest_name, 0, -1):
            entity = world.by_name.get(" ".join(words[position : position + length]))
            if entity is not None and entity < world.num_entities:
                entities.append(entity)
                position += length
                break
        else:
            rest.append(words[position])
            position += 1
    return list(dict.fromkeys(entities))[:MAX_ENTITIES], rest


def _closest_entities(world: World, words: list[str]) -> list[int]:
    """The entities whose names share most words with the query."""
    shared: Counter[int] = Counter()
    for word in dict.fromkeys(words):
        shared.update(world.by_word.get(word, ()))
    return [entity for entity, _ in shared.most_common(MAX_ENTITIES)]


def _asked_facts(world: World, entity: int, words: list[str]) -> list[Fact]:
    """The facts about ``entity`` that the other words of the query ask for."""
    forward = _best_relations(world.relations_of(entity), words)
    if forward:
        return [world.fact(entity, relation) for relation in forward]
    inverse = tuple(r for r in RELATIONS if r.object == world.types[entity])
    return [
        Fact(subject, relation, entity)
        for relation in _best_relations(inverse, words)
        for subject in world.subjects(relation, entity)[:MAX_INVERSE]
    ]


def _best_relations(relations: tuple[Relation, ...], words: list[str]) -> list[Relation]:
    """The relations that the words speak of, best first; none if no word says much."""
    weights = _cue_weights()
    spoken = set(map(_stem, words))
    scores = {
        relation: sum(weights[word] for word in spoken & _cues()[relation.name])
        for relation in relations
    }
    least = max(MIN_SCORE, NEAR_BEST * max(scores.values(), default=0.0))
    found = [relation for relation, score in scores.items() if score >= least]
    return sorted(found, key=lambda relation: -scores[relation])


def _stem(word: str) -> str:
    """Singular and plural alike."""
    return word.removesuffix("s")


@lru_cache(maxsize=1)
def _cues() -> dict[str, frozenset[str]]:
    """Relation name -> the words, stemmed, by which a query may mean it."""
    cues = {}
    for relation in RELATIONS:
        text = re.sub(r"\{[soab]\}", " ", " ".join((*relation.templates, relation.cues)))
        words = set(_WORD.findall(text.lower())) - _FUNCTION_WORDS
        cues[relation.name] = frozenset(map(_stem, words))
    return cues


@lru_cache(maxsize=1)
def _cue_weights() -> dict[str, float]:
    """Cue word -> how much it says: log of relations over relations that have the word."""
    counts = Counter(word for cues in _cues().values() for word in cues)
    return {word: math.log(len(RELATIONS) / count) for word, count in counts.items()}
