"""Kinds of noisy documents of the embedded world, told by what their sentences say.

A document is read with the world's own grammar: sentences are those of
`zs_env.world.schema.Relation`, doubted, dated or denied as `zs_env.world.marks` does it. Case and
spaces before punctuation do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from zs_env.simulation.truth import facts_in, reading_of, sentences_of
from zs_env.world.graph import Fact, FactGraph
from zs_env.world.marks import DATED, EITHER, HEDGES
from zs_env.world.noise import BESIDE, CONTRADICTED, FALSE, HEDGED, NAMESAKE, NOISE_KINDS
from zs_env.world.noise import DATED as DATED_KIND
from zs_env.world.schema import Relation
from zs_env.world.text import tokenize

STATES, OTHERS, UNREAD = "states the fact", "about others", "no statement"
DOCUMENT_KINDS = (STATES, *NOISE_KINDS, OTHERS, UNREAD)
"""Kinds of a document, of which each has exactly one.

- ``states the fact``: it states a fact that the query asks for: no noise at all;
- those of `zs_env.world.noise.NOISE_KINDS`, of which ``namesake`` is the asked relation of anything
  else: the program, too, draws similar names only as far as it finds them;
- ``about others``: it states neither a fact about what is asked about, nor the asked relation;
- ``no statement``: no sentence is one of the world.
"""

_YEAR = r"(\d+)"


class Claim(NamedTuple):
    """What a sentence says.

    Attributes:
        fact: what it states; of one that is left open ("... or ..."), the first.
        hedged: whether it is doubted or left open.
        year: year that it is dated with, or None.
        denied: whether the next sentence denies it.
    """

    fact: Fact
    hedged: bool = False
    year: str | None = None
    denied: bool = False


def kind_of(world: FactGraph, query: str, text: str) -> str:
    """Return the kind of a document, one of `DOCUMENT_KINDS`.

    A document that states the fact is of that kind whatever else it says. Else the first of these
    that a sentence is: a plain falsehood about what is asked, one that is denied, doubted, or
    dated; the asked relation of something else; another fact of what is asked
    about; a statement about others.

    Args:
        world: world.
        query: query that asks for at least one fact.
        text: text of the document.
    """
    reading = reading_of(world, query)
    if facts_in(world, reading.asked, text):
        return STATES
    about = [_asked_about(fact, reading.entities) for fact in reading.asked]
    found = {_kind_of_claim(world, claim, about) for claim in claims_of(world, text)}
    ranked = (FALSE, CONTRADICTED, HEDGED, DATED_KIND, NAMESAKE, BESIDE, OTHERS)
    return next((kind for kind in ranked if kind in found), UNREAD)


def claims_of(world: FactGraph, text: str) -> Iterator[Claim]:
    """Yield what the sentences of ``text`` say that are sentences of the world."""
    for sentence, denied in sentences_of(text):
        for claim in _claims(world, sentence):
            yield claim._replace(denied=denied)


class _Asked(NamedTuple):
    """A fact that is asked for, and the entity that the query gives."""

    fact: Fact
    entity: int

    @property
    def by_object(self) -> bool:
        """Whether the query gives the object, and asks for the subject."""
        return self.entity != self.fact.subject

    def concerns(self, fact: Fact) -> bool:
        """Return whether ``fact`` would answer the query."""
        given = fact.object if self.by_object else fact.subject
        return fact.relation == self.fact.relation and given == self.entity


def _asked_about(fact: Fact, entities: Sequence[int]) -> _Asked:
    return _Asked(fact, fact.subject if fact.subject in entities else fact.object)


def _kind_of_claim(world: FactGraph, claim: Claim, asked: Sequence[_Asked]) -> str:
    fact = claim.fact
    if any(each.concerns(fact) for each in asked):
        return _kind_of_own(world, claim)
    if any(fact.relation == each.fact.relation for each in asked):
        return NAMESAKE
    own = {each.entity for each in asked}
    return BESIDE if fact.subject in own or fact.object in own else OTHERS


def _kind_of_own(world: FactGraph, claim: Claim) -> str:
    """Return the kind of a claim about what is asked that does not state it."""
    if claim.denied:
        return CONTRADICTED
    if claim.hedged:
        return HEDGED
    versions = world.versions(claim.fact)
    known = [world.fact(claim.fact.subject, claim.fact.relation)]
    if versions is not None:
        known = [version.fact for version in versions]
    elif claim.year is not None:
        return DATED_KIND
    if claim.fact not in known:
        return FALSE
    return BESIDE if versions is None else DATED_KIND


@lru_cache(maxsize=200_000)
def _claims(world: FactGraph, sentence: str) -> tuple[Claim, ...]:
    year, statement = None, sentence
    if match := _DATE.fullmatch(statement):
        year, statement = match[1], match[2]
    hedged = False
    if match := _HEDGE.match(statement):
        hedged, statement = True, statement[match.end() :]
    found = []
    for form in _forms(world):
        if form.within not in statement:
            continue
        if match := form.pattern.fullmatch(statement):
            fact, is_open = _fact_of(world, form.relation, match["s"], match["o"])
            if fact is not None:
                found.append(Claim(fact, hedged or is_open, year))
    return tuple(found)


class _Form(NamedTuple):
    """A sentence that states a relation."""

    relation: Relation
    pattern: re.Pattern[str]
    within: str


@lru_cache(maxsize=8)
def _forms(world: FactGraph) -> tuple[_Form, ...]:
    return tuple(
        _form(relation, template)
        for relation in world.relations
        for template in relation.statements
    )


def _form(relation: Relation, template: str) -> _Form:
    """Return the pattern of a sentence, and its longest part that is always there."""
    pieces = re.split(r"\{([so])\}", template.removesuffix("."))
    parts = [_plain(piece) for piece in pieces[::2]]
    groups = [f"(?P<{name}>.+?)" for name in pieces[1::2]]
    pattern = [re.escape(parts[0])]
    for group, part in zip(groups, parts[1:], strict=True):
        pattern += [group, re.escape(part)]
    return _Form(relation, re.compile(" ".join(filter(None, pattern))), max(parts, key=len))


def _fact_of(
    world: FactGraph, relation: Relation, subject: str, object_: str
) -> tuple[Fact | None, bool]:
    """Return the fact of two names, and whether one of them is left open."""
    subjects, objects = subject.split(_OR), object_.split(_OR)
    one = _find(world, subjects[0], relation.subject)
    other = _find(world, objects[0], relation.object)
    if one is None or other is None:
        return None, False
    return Fact(one, relation, other), len(subjects) > 1 or len(objects) > 1


def _find(world: FactGraph, name: str, entity_type: str) -> int | None:
    entity = _entities(world).get(name)
    return entity if entity is not None and world.types[entity] == entity_type else None


@lru_cache(maxsize=8)
def _entities(world: FactGraph) -> dict[str, int]:
    return {_plain(name): entity for entity, name in enumerate(world.names)}


def _plain(text: str) -> str:
    return " ".join(tokenize(text))


_OR = EITHER.format(a="", b="")
_HEDGE = re.compile("|".join(re.escape(_plain(hedge.format(s=""))) + r"\s+" for hedge in HEDGES))
_DATE = re.compile(
    re.escape(_plain(DATED.format(year="YEAR", s=""))).replace("year", _YEAR) + r"\s*(.+)"
)
