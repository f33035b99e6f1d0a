"""Reading of free-form queries: the entities they name and the facts they ask for."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from functools import cache, lru_cache
from typing import NamedTuple

from zs_env.world.graph import Fact, FactGraph
from zs_env.world.schema import (
    BAND,
    CITY,
    COMPANY,
    COUNTRY,
    FILM,
    NOVEL,
    PERSON,
    TEAM,
    UNIVERSITY,
    YEAR,
    Relation,
)
from zs_env.world.sizes import Blueprint

MAX_WORDS = 200
"""Most words of a query that are read."""

MAX_ENTITIES = 4
"""Most entities of a query that are considered."""

MAX_INVERSE = 2
"""Most subjects that are returned if a query names an object, as in "novels by ..."."""

HINT_WEIGHT = 1.0
"""Score of a relation if the query has a word for the type of its objects, such as "when"."""

MAX_RELATIONS = 2
"""Most relations of one entity that a query can ask for."""

MAX_RESPELT = 4
"""Most unknown words of a query that are compared with words of names."""

SPELLING = 0.8
"""Least similarity (difflib ratio) of a misspelt word to a word of a name."""

_WORD = re.compile(r"[^\W_]+")

# Words that do not tell relations apart.
_FUNCTION_WORDS = frozenset(
    """
    a about all an and any are as at be been by can come comes could did do does find for from give
    had has have he her him his how i in into is it its make me name of on one onto out play
    played playing plays please s she tell than that the their them they this to under was were
    what which whichever whose will with would you
    """.split()
)

# Words that tell the type of the answer.
_HINTS = {
    YEAR: "when year date age old older long",
    PERSON: "who whom person man woman somebody founder",
    CITY: "where city town place located location",
    COUNTRY: "where country nation state located location",
    UNIVERSITY: "where university college school",
    COMPANY: "company firm business corporation",
    NOVEL: "novel book",
    TEAM: "team club",
    FILM: "film movie picture",
    BAND: "band group",
}
_HINTED = {
    word: frozenset(t for t, words in _HINTS.items() if word in words.split())
    for words in _HINTS.values()
    for word in words.split()
}

_SUFFIXES = ("ings", "ing", "ers", "ors", "ed", "er", "or", "es", "s")


class Reading(NamedTuple):
    """Meaning of a query.

    Attributes:
        entities: entities that it names, in order; if it names none, the closest ones.
        asked: facts that it asks for; empty if it means no relation that its entities have.
        named: whether it names ``entities``; False if they are only the closest.
        bare: whether it is only a name.
    """

    entities: list[int]
    asked: list[Fact]
    named: bool
    bare: bool


def read_query(world: FactGraph, query: str) -> Reading:
    """Find the entities and facts that ``query`` means, in time linear in its length."""
    words = _WORD.findall(query.lower())[:MAX_WORDS]
    entities, rest = _named_in_full(world, words)
    if not entities:
        entities, rest = _named_in_pieces(world, _respelt(world, rest))
    named = bool(entities)
    if not named:
        entities, rest = _closest(world, rest)
    asked = [fact for entity in entities for fact in _asked_facts(world, entity, rest)]
    said = [word for word in rest if word not in _FUNCTION_WORDS and word not in _HINTED]
    bare = named and not asked and not said
    return Reading(entities, list(dict.fromkeys(asked)), named, bare)


def _named_in_full(world: FactGraph, words: list[str]) -> tuple[list[int], list[str]]:
    """Return the entities whose full names are in the query, and the remaining words."""
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


def _named_in_pieces(world: FactGraph, words: list[str]) -> tuple[list[int], list[str]]:
    """Return the entities whose words are all in the query, in any order and with gaps."""
    shared = _shared_words(world, words)
    entities = [
        entity
        for entity, count in shared.most_common()
        if count > 1 and count == len(set(world.names[entity].split()))
    ][:MAX_ENTITIES]
    return entities, _without_names(world, words, entities)


def _closest(world: FactGraph, words: list[str]) -> tuple[list[int], list[str]]:
    """Return the entities whose names share most words with the query, and other words."""
    shared = _shared_words(world, words).most_common(MAX_ENTITIES)
    entities = [entity for entity, count in shared if count == shared[0][1]]
    return entities, _without_names(world, words, entities)


def _shared_words(world: FactGraph, words: list[str]) -> Counter[int]:
    shared: Counter[int] = Counter()
    for word in dict.fromkeys(words):
        shared.update(world.by_word.get(word, ()))
    return shared


def _without_names(world: FactGraph, words: list[str], entities: list[int]) -> list[str]:
    used = {word for entity in entities for word in world.names[entity].lower().split()}
    return [word for word in words if word not in used]


def _respelt(world: FactGraph, words: list[str]) -> list[str]:
    """Return ``words`` with unknown words corrected if they seem to be misspelt names."""
    unknown = [word for word in dict.fromkeys(words) if len(word) >= 4 and not _known(world, word)]
    respelt = {word: _closest_word(world, word) for word in unknown[:MAX_RESPELT]}
    return [respelt.get(word, word) for word in words]


def _known(world: FactGraph, word: str) -> bool:
    return (
        word in world.by_word
        or word in _FUNCTION_WORDS
        or word in _HINTED
        or _stem(word) in _cues(world.blueprint).weights
    )


@lru_cache(maxsize=65_536)
def _closest_word(world: FactGraph, word: str) -> str:
    """Return the word of a name that is most similar to ``word``, or ``word`` if none is."""
    alike = difflib.get_close_matches(word, world.by_word, n=1, cutoff=SPELLING)
    return alike[0] if alike else word


def _asked_facts(world: FactGraph, entity: int, words: list[str]) -> list[Fact]:
    """Return the facts about ``entity`` that the other words of the query ask for."""
    entity_type = world.types[entity]
    if described := _described(world, entity, words):
        return described
    cues = _cues(world.blueprint)
    forward = _best_relations(cues, world.relations_of(entity), words, entity_type)
    if forward:
        return [world.fact(entity, relation) for relation in forward]
    inverse = tuple(r for r in world.relations if r.object == entity_type)
    return [
        Fact(subject, relation, entity)
        for relation in _best_relations(cues, inverse, words, None)
        for subject in world.subjects(relation, entity)[:MAX_INVERSE]
    ]


def _described(world: FactGraph, entity: int, words: list[str]) -> list[Fact]:
    """Return the facts by which the query describes somebody who has a name that it gives."""
    cues = _cues(world.blueprint)
    described = tuple(
        r
        for r in world.relations
        if r.name in world.blueprint.descriptions and r.object == world.types[entity]
    )
    return [
        Fact(subject, relation, entity)
        for relation in _best_relations(cues, described, words, None)
        for subject in world.subjects(relation, entity)
        if not set(words).isdisjoint(world.names[subject].lower().split())
    ][:MAX_INVERSE]


class _Cues(NamedTuple):
    """Words by which a query may mean a relation.

    Attributes:
        stems: stems of such words, by relation name.
        weights: weight by stem: the log of (relations / relations that have the stem).
    """

    stems: dict[str, frozenset[str]]
    weights: dict[str, float]

    def score(self, spoken: set[str], relation: Relation) -> float:
        """Return the summed weight of the stems ``spoken`` that speak for ``relation``."""
        return sum(self.weights[stem] for stem in spoken & self.stems[relation.name])


def _best_relations(
    cues: _Cues, relations: tuple[Relation, ...], words: list[str], entity_type: str | None
) -> list[Relation]:
    """Return the relations that the words mean, best first; each explains different words.

    Args:
        cues: words for each relation.
        relations: relations to choose from.
        words: words of the query besides names.
        entity_type: type of the subjects, whose own words say nothing about the answer; None if
            the entity is the object, and the subjects are asked for.
    """
    spoken = {_stem(word) for word in words}
    hinted = _hinted_types(words, entity_type)
    found: list[Relation] = []
    while len(found) < MAX_RELATIONS:
        scores = {
            relation: cues.score(spoken, relation)
            + HINT_WEIGHT * ((relation.object if entity_type else relation.subject) in hinted)
            for relation in relations
            if spoken & cues.stems[relation.name]
        }
        if not scores:
            break
        best = max(scores, key=lambda relation: scores[relation])
        found.append(best)
        spoken -= cues.stems[best.name]
    if found:
        return found
    # The type of the answer alone may be enough.
    fitting = [relation for relation in relations if entity_type and relation.object in hinted]
    return fitting if len(fitting) <= MAX_RELATIONS else []


def _hinted_types(words: list[str], entity_type: str | None) -> set[str]:
    """Return the types that the answer may have by the words."""
    hinted: set[str] = set()
    for word in words:
        types = _HINTED.get(word, frozenset())
        hinted |= types if entity_type not in types else types & {YEAR}
    return hinted


@lru_cache(maxsize=4096)
def _stem(word: str) -> str:
    """Return ``word`` without one common ending, so that "directs" matches "director"."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word.removesuffix(suffix)
    return word


@cache
def _cues(blueprint: Blueprint) -> _Cues:
    stems = {relation.name: _stems(relation) for relation in blueprint.relations}
    counts = Counter(stem for found in stems.values() for stem in found)
    weights = {stem: math.log(len(stems) / count) for stem, count in counts.items()}
    return _Cues(stems, weights)


def _stems(relation: Relation) -> frozenset[str]:
    """Return the stems of the words by which a query may mean ``relation``."""
    text = re.sub(r"\{[soab]\}", " ", " ".join((*relation.templates, relation.cues)))
    words = set(_WORD.findall(text.lower())) - _FUNCTION_WORDS - set(_HINTED)
    return frozenset(map(_stem, words))
