"""Plans that answer the questions of the embedded world, and what one has to search for.

They follow from a question's words, the world's grammar and its names; facts are not looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from zs_env.world.graph import FactGraph
from zs_env.world.marks import split_date, without_hedge
from zs_env.world.schema import Relation


@dataclass(frozen=True)
class Lookup:
    """Missing fact, which has to be searched for.

    Attributes:
        relation: relation of the fact.
        subject: entity number of its subject.
        template: phrasing in the question; None if the question does not phrase it.
    """

    relation: Relation
    subject: int
    template: str | None = field(default=None, compare=False)

    def phrase(self, world: FactGraph) -> str:
        """Return a noun phrase for the object, always in the same words."""
        return self.relation.phrases[0].format(s=world.names[self.subject])

    def wordings(self, world: FactGraph) -> list[str]:
        """Return queries for the fact: first as the question phrases it, then noun phrases."""
        templates = (*self.relation.phrases, *self.relation.questions)
        name = world.names[self.subject]
        return [t.format(s=name) for t in _own_first(templates, self.template)]

    def match(self, world: FactGraph, statement: str) -> int | None:
        """Return the object that ``statement`` gives, without a full stop, or None."""
        name = world.names[self.subject]
        for template in self.relation.statements:
            form = template.removesuffix(".").replace("{s}", name)
            entity = _find(world, _inside(form, "{o}", statement), self.relation.object)
            if entity is not None:
                return entity
        return None

    def match_any(self, world: FactGraph, sentence: str) -> int | None:
        """Return the object that ``sentence`` gives for any subject, doubtful or not, or None."""
        for _, name in _pairs(self.relation, sentence):
            entity = _find(world, name, self.relation.object)
            if entity is not None:
                return entity
        return None


@dataclass(frozen=True)
class Description:
    """Person who has to be searched for: called ``word``, with ``object`` for ``relation``.

    Attributes:
        relation: relation of the fact that tells the person from namesakes.
        word: last name.
        object: entity number of the fact's object.
        template: phrasing in the question.
    """

    relation: Relation
    word: str
    object: int
    template: str = field(compare=False)

    def phrase(self, world: FactGraph) -> str:
        """Return a noun phrase for the person, always in the same words."""
        return self.wordings(world, own_first=False)[0]

    def wordings(self, world: FactGraph, *, own_first: bool = True) -> list[str]:
        """Return queries for the person, first as the question does it."""
        templates = world.blueprint.descriptions[self.relation.name]
        ordered = _own_first(templates, self.template) if own_first else templates
        return [t.format(w=self.word, o=world.names[self.object]) for t in ordered]

    def match(self, world: FactGraph, statement: str) -> int | None:
        """Return the person whom ``statement`` is about if it fits, or None."""
        name = world.names[self.object]
        for template in self.relation.statements:
            form = template.removesuffix(".").replace("{o}", name)
            subject = _inside(form, "{s}", statement)
            entity = _find(world, subject, self.relation.subject)
            if entity is not None and self.word in world.names[entity].split():
                return entity
        return None

    def match_any(self, world: FactGraph, sentence: str) -> int | None:
        """Return whomever ``sentence`` states the relation of, doubtful or not, or None."""
        for name, _ in _pairs(self.relation, sentence):
            entity = _find(world, name, self.relation.subject)
            if entity is not None:
                return entity
        return None


Need = Lookup | Description
"""What has to be searched for."""


@dataclass(frozen=True)
class Hop:
    """Plan: the object of ``relation`` of the entity of ``subject``, phrased as ``template``."""

    relation: Relation
    subject: Plan
    template: str


@dataclass(frozen=True)
class Comparison:
    """Plan: the one of two entities with the earlier year or smaller number, or with the later."""

    relation: Relation
    later: bool
    first: int
    second: int


Plan = int | Description | Hop | Comparison
"""Plan that finds an entity; an integer is the number of a known entity."""


def parse_question(world: FactGraph, text: str) -> Hop | None:
    """Return the plan that answers a question of ``world``; None for any other text."""
    for relation in world.relations:
        for template in relation.questions:
            hop = _parse_hop(world, relation, template, text)
            if hop is not None:
                return hop
    return None


def _parse_hop(world: FactGraph, relation: Relation, template: str, text: str) -> Hop | None:
    subject_text = _inside(template, "{s}", text)
    subject = _parse_phrase(world, subject_text) if subject_text else None
    if subject is None or _type_of(world, subject) != relation.subject:
        return None
    return Hop(relation, subject, template)


def _parse_phrase(world: FactGraph, text: str) -> Plan | None:
    entity = world.find(text)
    if entity is not None:
        return entity
    for relation in world.relations:
        for template in relation.phrases:
            hop = _parse_hop(world, relation, template, text)
            if hop is not None:
                return hop
    return _parse_comparison(world, text) or _parse_description(world, text)


def _parse_comparison(world: FactGraph, text: str) -> Comparison | None:
    for relation in world.relations:
        for later, templates in enumerate((relation.earlier, relation.later)):
            for template in templates:
                pair = _inside(template.replace("{a} and {b}", "{s}"), "{s}", text)
                names = pair.split(" and ") if pair else []
                entities = [world.find(name) for name in names]
                if len(entities) == 2 and all(
                    entity is not None and world.types[entity] == relation.subject
                    for entity in entities
                ):
                    first, second = entities
                    assert first is not None and second is not None
                    return Comparison(relation, bool(later), first, second)
    return None


def _parse_description(world: FactGraph, text: str) -> Description | None:
    for relation in world.relations:
        for template in world.blueprint.descriptions.get(relation.name, ()):
            match = re.fullmatch(_pattern(template), text)
            if match:
                entity = _find(world, match["o"], relation.object)
                if entity is not None:
                    return Description(relation, match["w"], entity, template)
    return None


def _type_of(world: FactGraph, plan: Plan) -> str:
    if isinstance(plan, int):
        return world.types[plan]
    if isinstance(plan, Hop):
        return plan.relation.object
    return plan.relation.subject


def _own_first(templates: tuple[str, ...], own: str | None) -> list[str]:
    return sorted(templates, key=lambda template: template != own)


def _inside(template: str, field: str, text: str) -> str | None:
    """Return the part of ``text`` in place of ``field`` in ``template``; None without a match."""
    before, _, after = template.partition(field)
    if text.startswith(before) and text.endswith(after) and len(text) > len(before) + len(after):
        return text[len(before) : len(text) - len(after)]
    return None


def _find(world: FactGraph, name: str | None, entity_type: str) -> int | None:
    entity = world.find(name) if name else None
    return entity if entity is not None and world.types[entity] == entity_type else None


@lru_cache(maxsize=1024)
def _pattern(template: str) -> str:
    """Return a regular expression for ``template`` whose groups are its fields."""
    return re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(template.removesuffix(".")))


def _pairs(relation: Relation, sentence: str) -> list[tuple[str, str]]:
    """Return the subjects and objects that ``sentence`` may state ``relation`` of.

    Of an object that is left open ("... or ..."), it is the first.
    """
    statement = without_hedge(split_date(sentence)[1])
    matches = (re.fullmatch(_pattern(template), statement) for template in relation.statements)
    found = [match for match in matches if match]
    return [(match["s"].split(" or ")[0], match["o"].split(" or ")[0]) for match in found]
