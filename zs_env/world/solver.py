"""Scripted agent that solves the embedded world's questions hop by hop, from text alone.

It knows the world's grammar and names but no facts: it has to search for them. It shows that the
environment can be solved, and its episodes can be used for behaviour cloning. Readers that take
noise otherwise (`zs_env.world.readers`) share its plans.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from zs_env.actions import ANSWER, INFORMATION, SEARCH, THINK, tagged
from zs_env.world.graph import FactGraph
from zs_env.world.marks import is_correction, split_date
from zs_env.world.plans import Comparison, Hop, Lookup, Need, Plan, parse_question

NOT_UNDERSTOOD = "I do not understand the question."
NEEDED = "I need {what}."
FOUND = "I know the answer."
OUT_OF_TURNS = "There is no turn left to search."

UNKNOWN = "unknown"
"""Answer if the question is not understood or no turn is left to search."""

_QUESTION = re.compile(r"^Question: (.+)$", re.MULTILINE)
_QUERY = re.compile(f"</{THINK}><{SEARCH}>(.*?)</{SEARCH}>")
_BLOCK = re.compile(
    f"(?:</{THINK}><{SEARCH}>([^<]*)</{SEARCH}>\\s*)?<{INFORMATION}>\n(.*?)\n</{INFORMATION}>",
    re.DOTALL,
)
_HEADER = re.compile(r"^Doc \d+(?: \(.*?\))?: ", re.MULTILINE)


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        query: query of the search; "" if it stands in no thought-out turn.
        documents: sentences of each document, without their full stops.
    """

    query: str
    documents: tuple[tuple[str, ...], ...]


class Step(Protocol):
    """What to search for next."""

    def phrase(self, world: FactGraph) -> str:
        """Return a noun phrase for it, always in the same words."""

    def wordings(self, world: FactGraph) -> list[str]:
        """Return queries for it, the best first."""


class HopByHopSolver:
    """Policy that searches for one missing fact at a time, and answers when it has all.

    It has no state: ``solver(observation)`` reads the whole transcript
    (``observation="transcript"``, default prompt). It believes what most documents say; of a fact
    that changed, what the newest say.

    Args:
        world: world of the questions, for its grammar and names.
        max_turns: turns of an episode; in the last one it always answers.
    """

    def __init__(self, world: FactGraph, max_turns: int = 5) -> None:
        self.world = world
        self.max_turns = max_turns

    def __call__(self, observation: str) -> str:
        """Return the text of the next turn: a thought, and a search or the answer."""
        queries = _QUERY.findall(observation)
        is_last = len(queries) >= self.max_turns - 1
        step = self.next_step(observation, is_last=is_last)
        if step is None:
            return _turn(NOT_UNDERSTOOD, ANSWER, UNKNOWN)
        if isinstance(step, int):
            return _turn(FOUND, ANSWER, self.world.names[step])
        if is_last:
            return _turn(OUT_OF_TURNS, ANSWER, UNKNOWN)
        thought = NEEDED.format(what=step.phrase(self.world))
        return _turn(thought, SEARCH, self.query(step, observation, queries))

    def query(self, step: Step, observation: str, queries: list[str]) -> str:
        """Return the query that searches for ``step``, each time in other words.

        Args:
            step: what to search for.
            observation: transcript.
            queries: queries so far.
        """
        wordings = step.wordings(self.world)
        num_tries = sum(query in wordings for query in queries)
        return wordings[num_tries % len(wordings)]

    def next_step(self, observation: str, *, is_last: bool = False) -> int | Step | None:
        """Return the entity that answers the question, or the first thing to search for.

        None if the question is not one of this world.

        Args:
            observation: transcript.
            is_last: whether there is no turn left to search.
        """
        question = question_of(observation)
        plan = None if question is None else parse_question(self.world, question)
        return None if plan is None else self._resolve(plan, read_searches(observation), is_last)

    def read(self, need: Need, observation: str) -> int | None:
        """Return the entity that the documents give for ``need``, or None."""
        return self.believe(need, read_searches(observation), False)

    def believe(self, need: Need, searches: list[Found], is_last: bool) -> int | None:
        """Return the entity to believe in for ``need``, or None to search for it.

        Args:
            need: what is missing.
            searches: what all searches found.
            is_last: whether there is no turn left to search.
        """
        return newest(claims(self.world, need, searches))

    def _resolve(self, plan: Plan, searches: list[Found], is_last: bool) -> int | Step:
        """Return the entity that ``plan`` finds, or the first thing to search for."""
        if isinstance(plan, int):
            return plan
        if isinstance(plan, Comparison):
            return self.compare(plan, searches, is_last)
        need: Need
        if isinstance(plan, Hop):
            subject = self._resolve(plan.subject, searches, is_last)
            if not isinstance(subject, int):
                return subject
            need = Lookup(plan.relation, subject, plan.template)
        else:
            need = plan
        entity = self.believe(need, searches, is_last)
        return need if entity is None else entity

    def compare(self, plan: Comparison, searches: list[Found], is_last: bool) -> int | Step:
        """Return the entity that the comparison finds, or the first thing to search for."""
        values = []
        for entity in (plan.first, plan.second):
            need = Lookup(plan.relation, entity)
            value = self.believe(need, searches, is_last)
            if value is None:
                return need
            values.append(value)
        # Years and numbers are numbered in order, so entity numbers compare as they do.
        return plan.first if (values[0] > values[1]) == plan.later else plan.second


def question_of(observation: str) -> str | None:
    """Return the question of a transcript with the default prompt; None if it has none."""
    question = _QUESTION.search(observation)
    return question[1] if question else None


Claims = Counter[tuple[int, int]]
"""Number of documents by the year, or 0, and the entity that they give."""


def claims(world: FactGraph, need: Need, searches: Iterable[Found]) -> Claims:
    """Count the documents that state ``need``, neither doubted nor denied, by what they say.

    Of a fact that changed only dated statements count, of another one only those without a date.
    """
    found: Claims = Counter()
    changing = need.relation.name in world.blueprint.changing
    for search in searches:
        for document in search.documents:
            stated = set()
            for year, statement in _undenied(document):
                entity = need.match(world, statement)
                if entity is not None and (year is not None) == changing:
                    stated.add((year or 0, entity))
            found.update(stated)
    return found


def newest(found: Claims) -> int | None:
    """Return the entity that most documents of the newest year give; None if there is none."""
    return given_in(found, max(year for year, _ in found)) if found else None


def given_in(found: Claims, year: int) -> int:
    """Return the entity that most documents of ``year``, which is one of theirs, give."""
    entities = (entity for own, entity in found if own == year)
    return max(entities, key=lambda entity: found[year, entity])


def read_searches(observation: str) -> list[Found]:
    """Return what the searches of a transcript found, in order."""
    return [
        Found(query, tuple(map(_sentences, block.split("\n"))))
        for query, block in _BLOCK.findall(observation)
    ]


def _sentences(document: str) -> tuple[str, ...]:
    return tuple(_HEADER.sub("", document).removesuffix(".").split(". "))


def _undenied(document: tuple[str, ...]) -> Iterator[tuple[int | None, str]]:
    """Yield the statements of a document, each with its year or None, without those it denies."""
    for sentence, following in zip(document, (*document[1:], ""), strict=True):
        if not is_correction(following):
            yield split_date(sentence)


def _turn(thought: str, name: str, content: str) -> str:
    return tagged(THINK, thought) + tagged(name, content)
