"""Facts of the embedded world: entities, their names, and the relations between them."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zs_env import keyed_random
from zs_env.world import words
from zs_env.world.schema import PERSON, YEAR, Relation
from zs_env.world.sizes import NameForm, find_blueprint

TEST_SHARE = 0.3
"""Share of the entities whose facts belong to the test split."""


class Fact(NamedTuple):
    """Fact that ``relation`` of ``subject`` is ``object``; both are entity numbers."""

    subject: int
    relation: Relation
    object: int


class Version(NamedTuple):
    """Fact that holds since a year; ``fact`` may be one that does not hold any more."""

    year: str
    fact: Fact


class FactGraph:
    """Knowledge graph that follows from a seed and a size.

    Entities are numbered from 0, type by type in the order of the blueprint's counts; years and
    numbers, which are not subjects of facts, come last, in order.

    Args:
        seed: any integer.
        size: ``tiny`` (144 people, 16 cities, 12 companies; see `zs_env.world.sizes`), ``small``
            (2,000 entities), ``medium`` (20,000), ``large`` (100,000), or ``hard`` (2,000, with
            what agents fail at; see `zs_env.world.hard`).

    Raises:
        ValueError: the size is unknown.
        TypeError: the seed is not an integer.

    Attributes:
        blueprint: common structure of all worlds of this size.
        names: name of each entity, list of str.
        types: entity type of each entity, list of str.
        spans: range of entity numbers by entity type.
        facts: object of the relation in slot j of entity i, -1 if there is none,
            shape (entities, slots), int32.
        is_test: whether entity i's facts belong to the test split, shape (entities,), bool.
    """

    def __init__(self, seed: int = 0, size: str = "small") -> None:
        self.blueprint = find_blueprint(size)
        if not isinstance(seed, int):
            raise TypeError(f"`world_seed` must be an integer, got {seed!r}.")
        self.seed = seed
        self.size = size
        self.names: list[str] = []
        self.types: list[str] = []
        self.spans: dict[str, range] = {}
        for entity_type, count in self.blueprint.counts.items():
            forms = self.blueprint.name_forms[entity_type]
            self._add_entities(entity_type, _make_names(entity_type, forms, count, seed))
        for entity_type, ordered in self.blueprint.ordered.items():
            self._add_entities(entity_type, list(ordered))
        self.facts = self._make_facts()
        draws = keyed_random.integers(1000, len(self.names), "split", seed)
        self.is_test = draws < 1000 * TEST_SHARE

    @cached_property
    def num_entities(self) -> int:
        """Number of entities that are subjects of facts; years and numbers are not counted."""
        return self.blueprint.num_subjects

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Relations between the entities."""
        return self.blueprint.relations

    @cached_property
    def by_name(self) -> dict[str, int]:
        """Entity by lower-cased name."""
        return {name.lower(): entity for entity, name in enumerate(self.names)}

    @cached_property
    def longest_name(self) -> int:
        """Number of words of the longest name."""
        return max(len(name.split()) for name in self.names)

    @cached_property
    def by_word(self) -> dict[str, list[int]]:
        """Subjects of facts whose name has a word, in order, by the lower-cased word."""
        index: dict[str, list[int]] = {}
        for entity in range(self.num_entities):
            for word in set(self.names[entity].lower().split()):
                index.setdefault(word, []).append(entity)
        return index

    def find(self, name: str) -> int | None:
        """Return the entity called ``name``, in any case; None if there is none."""
        return self.by_name.get(name.lower())

    def relations_of(self, entity: int) -> tuple[Relation, ...]:
        """Return the relations that ``entity`` is a subject of."""
        return self.blueprint.by_subject.get(self.types[entity], ())

    def fact(self, entity: int, relation: Relation) -> Fact:
        """Return the fact of ``relation`` about ``entity``."""
        slot = self.blueprint.slots[relation.name]
        return Fact(entity, relation, int(self.facts[entity, slot]))

    def facts_of(self, entity: int) -> list[Fact]:
        """Return all facts whose subject is ``entity``."""
        return [self.fact(entity, relation) for relation in self.relations_of(entity)]

    def versions(self, fact: Fact) -> tuple[Version, Version] | None:
        """Return what held before and what holds of a fact, with years; None if it never changed.

        ``fact`` may be either of them, or false. The years differ, and are drawn from those of all
        events.
        """
        if fact.relation.name not in self.blueprint.changing:
            return None
        fact = self.fact(fact.subject, fact.relation)
        draw = keyed_random.Stream("history", self.seed, fact.relation.name, fact.subject)
        since = draw.integer(len(words.EVENT_YEARS) - 1) + 1
        before = draw.integer(since)
        objects = self.object_range(fact.relation)
        former = fact
        while former.object in (fact.object, fact.subject):
            former = fact._replace(object=draw.choice(objects))
        return Version(words.EVENT_YEARS[before], former), Version(words.EVENT_YEARS[since], fact)

    def subjects(self, relation: Relation, entity: int) -> list[int]:
        """Return the entities whose ``relation`` is ``entity``."""
        span = self.spans[relation.subject]
        column = self.facts[span.start : span.stop, self.blueprint.slots[relation.name]]
        return [span.start + int(index) for index in np.flatnonzero(column == entity)]

    def object_range(self, relation: Relation) -> range:
        """Return the possible objects of a fact of ``relation``, all equally likely."""
        objects = self.spans[relation.object]
        if relation.object != YEAR:
            return objects
        # People are born before the first event, so that nobody founds a company unborn.
        first_event = objects.start + words.YEARS.index(str(words.FIRST_EVENT_YEAR))
        if relation.subject == PERSON:
            return range(objects.start, first_event)
        return range(first_event, objects.stop)

    def _add_entities(self, entity_type: str, names: list[str]) -> None:
        start = len(self.names)
        self.names += names
        self.types += [entity_type] * len(names)
        self.spans[entity_type] = range(start, len(self.names))

    def _make_facts(self) -> NDArray[np.int32]:
        shape = (len(self.names), self.blueprint.num_slots)
        facts = np.full(shape, -1, dtype=np.int32)
        for entity_type, relations in self.blueprint.by_subject.items():
            span = self.spans[entity_type]
            for slot, relation in enumerate(relations):
                facts[span.start : span.stop, slot] = self._draw_objects(relation, span)
        return facts

    def _draw_objects(self, relation: Relation, subjects: range) -> NDArray[np.int64]:
        """Draw an object for each subject, uniform over the type, never the subject itself."""
        objects = self.object_range(relation)
        source = ("facts", self.seed, relation.name)
        if relation.object != relation.subject:
            return objects.start + keyed_random.integers(len(objects), len(subjects), *source)
        steps = keyed_random.integers(len(objects) - 1, len(subjects), *source) + 1
        return objects.start + (np.arange(len(subjects)) + steps) % len(objects)


def _make_names(entity_type: str, forms: tuple[NameForm, ...], count: int, seed: int) -> list[str]:
    """Draw ``count`` different names, in a keyed random order of all names of a form."""
    # The first form with enough names, with a margin for those that use a word twice.
    pools = next((form for form in forms if _num_names(form) >= 1.3 * count), forms[-1])
    names: list[str] = []
    for index in keyed_random.permutation(_num_names(pools), "names", seed, entity_type).tolist():
        parts = []
        for pool in pools:
            index, place = divmod(index, len(pool))
            parts.append(pool[place])
        if len(set(parts)) == len(parts):
            names.append(" ".join(parts))
        if len(names) == count:
            break
    return names


def _num_names(pools: NameForm) -> int:
    return math.prod(map(len, pools))
