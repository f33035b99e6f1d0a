"""Scripted agent that solves the embedded world's questions hop by hop, from text alone.

It knows the world's grammar and names but no facts: it has to search for them. It shows that the
environment can be solved, and its episodes can be used for behaviour cloning.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from zs_env.actions import ANSWER, INFORMATION, SEARCH, THINK, tagged
from zs_env.world.graph import FactGraph
from zs_env.world.schema import Relation

NOT_UNDERSTOOD = "I do not understand the question."
NEEDED = "I need {what}."
FOUND = "I know the answer."
OUT_OF_TURNS = "There is no turn left to search."

UNKNOWN = "unknown"
"""Answer if the question is not understood or no turn is left to search."""

_QUESTION = re.compile(r"^Question: (.+)$", re.MULTILINE)
_QUERY = re.compile(f"</{THINK}><{SEARCH}>(.*?)</{SEARCH}>")
_BLOCK = re.compile(f"<{INFORMATION}>\n(.*?)\n</{INFORMATION}>", re.DOTALL)
_HEADER = re.compile(r"^Doc \d+(?: \(.*?\))?: ", re.MULTILINE)


@dataclass(frozen=True)
class Hop:
    """Plan: the object of ``relation`` of the entity of ``subject``, phrased as ``template``."""

    relation: Relation
    subject: Plan
    template: str


@dataclass(frozen=True)
class Comparison:
    """Plan: the one of two entities with the earlier year, or the later year if ``later``."""

    relation: Relation
    later: bool
    first: int
    second: int


Plan = int | Hop | Comparison
"""Plan that finds an entity; an integer is the number of a known entity."""


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
        own_first = sorted(templates, key=lambda template: template != self.template)
        return [template.format(s=world.names[self.subject]) for template in own_first]


class HopByHopSolver:
    """Policy that searches for one missing fact at a time, and answers when it has all.

    It has no state: ``solver(observation)`` reads the whole transcript
    (``observation="transcript"``, default prompt).

    Args:
        world: world of the questions, for its grammar and names.
        max_turns: turns of an episode; in the last one it always answers.
    """

    def __init__(self, world: FactGraph, max_turns: int = 5) -> None:
        self.world = world
        self.max_turns = max_turns

    def __call__(self, observation: str) -> str:
        """Return the text of the next turn: a thought, and a search or the answer."""
        step = self.next_step(observation)
        if step is None:
            return _turn(NOT_UNDERSTOOD, ANSWER, UNKNOWN)
        if isinstance(step, int):
            return _turn(FOUND, ANSWER, self.world.names[step])
        queries = _QUERY.findall(observation)
        if len(queries) >= self.max_turns - 1:
            return _turn(OUT_OF_TURNS, ANSWER, UNKNOWN)
        wordings = step.wordings(self.world)
        num_tries = sum(query in wordings for query in queries)
        thought = NEEDED.format(what=step.phrase(self.world))
        return _turn(thought, SEARCH, wordings[num_tries % len(wordings)])

    def next_step(self, observation: str) -> int | Lookup | None:
        """Return the entity that answers the question, or the first missing fact.

        None if the question is not one of this world.
        """
        question = _QUESTION.search(observation)
        plan = parse_question(self.world, question[1]) if question else None
        return None if plan is None else self._resolve(plan, _read_sentences(observation))

    def read(self, lookup: Lookup, observation: str) -> int | None:
        """Return the entity that the documents give for ``lookup``, or None."""
        found = self._read(lookup, _read_sentences(observation))
        return found if isinstance(found, int) else None

    def _resolve(self, plan: Plan, sentences: list[str]) -> int | Lookup:
        """Return the entity that ``plan`` finds, or the first missing fact."""
        if isinstance(plan, int):
            return plan
        if isinstance(plan, Hop):
            subject = self._resolve(plan.subject, sentences)
            if isinstance(subject, Lookup):
                return subject
            return self._read(Lookup(plan.relation, subject, plan.template), sentences)
        first_year = self._read(Lookup(plan.relation, plan.first), sentences)
        if isinstance(first_year, Lookup):
            return first_year
        second_year = self._read(Lookup(plan.relation, plan.second), sentences)
        if isinstance(second_year, Lookup):
            return second_year
        # Years are numbered in order, so entity numbers compare as years do.
        return plan.first if (first_year > second_year) == plan.later else plan.second

    def _read(self, lookup: Lookup, sentences: list[str]) -> int | Lookup:
        """Return the entity that most sentences state, or ``lookup`` if no sentence does."""
        found: Counter[int] = Counter()  # noisy documents may state a wrong object
        name = self.world.names[lookup.subject]
        for template in lookup.relation.statements:
            form = template.removesuffix(".").replace("{s}", name)
            for sentence in sentences:
                entity = self._find(_inside(form, "{o}", sentence), lookup.relation.object)
                if entity is not None:
                    found[entity] += 1
        return found.most_common(1)[0][0] if found else lookup

    def _find(self, name: str | None, entity_type: str) -> int | None:
        entity = self.world.find(name) if name else None
        return entity if entity is not None and self.world.types[entity] == entity_type else None


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
    return _parse_comparison(world, text)


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


def _type_of(world: FactGraph, plan: Plan) -> str:
    if isinstance(plan, int):
        return world.types[plan]
    if isinstance(plan, Hop):
        return plan.relation.object
    return plan.relation.subject


def _inside(template: str, field: str, text: str) -> str | None:
    """Return the part of ``text`` in place of ``field`` in ``template``; None without a match."""
    before, _, after = template.partition(field)
    if text.startswith(before) and text.endswith(after) and len(text) > len(before) + len(after):
        return text[len(before) : len(text) - len(after)]
    return None


def _read_sentences(observation: str) -> list[str]:
    """Return the sentences of all documents in a transcript, without their full stops."""
    documents = (line for block in _BLOCK.findall(observation) for line in block.split("\n"))
    texts = (_HEADER.sub("", document).removesuffix(".") for document in documents)
    return [sentence for text in texts for sentence in text.split(". ")]


def _turn(thought: str, name: str, content: str) -> str:
    return tagged(THINK, thought) + tagged(name, content)
