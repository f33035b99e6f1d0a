"""Solver that words its queries as learners do: in many ways, and often wrongly.

It collects the searches that a simulation LLM is tuned on, which should answer whatever a policy
asks on its way, and not only the queries of one that knows how to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate

from zs_env.keyed_random import Stream
from zs_env.world.graph import FactGraph
from zs_env.world.plans import Description, Lookup, Need
from zs_env.world.solver import HopByHopSolver, Step, question_of

SHARES = {
    "right": 55,
    "whole question": 10,
    "wrong relation": 10,
    "namesake": 10,
    "bare name": 7,
    "half a name": 8,
}
"""Share of each kind of query, in percent."""


class Explorer(HopByHopSolver):
    """Policy that plans as its base class does, and draws the wording of each query.

    Args:
        world: world of the questions, for its grammar and names.
        max_turns: turns of an episode; in the last one it always answers.
        key: key of the draws: the same key, question and turn give the same query.
    """

    def __init__(self, world: FactGraph, max_turns: int = 5, key: int = 0) -> None:
        super().__init__(world, max_turns)
        self._key = key

    def query(self, step: Step, observation: str, queries: list[str]) -> str:
        """Return a query for ``step``, which is right in 55 % of all cases."""
        question = question_of(observation)
        if question is None or not isinstance(step, Lookup | Description):
            return super().query(step, observation, queries)
        draw = Stream("explorer", self._key, question, len(queries))
        return draw_query(self.world, step, question, draw)


def draw_query(world: FactGraph, need: Need, question: str, draw: Stream) -> str:
    """Draw a query of one who needs ``need`` to answer ``question``, by `SHARES`."""
    place = draw.integer(sum(SHARES.values()))
    bounds = zip(SHARES, accumulate(SHARES.values()), strict=True)
    kind = next(kind for kind, bound in bounds if place < bound)
    if kind == "whole question":
        return question
    return _WORDINGS[kind](world, need, draw)


def _right(world: FactGraph, need: Need, draw: Stream) -> str:
    return draw.choice(need.wordings(world))


def _wrong_relation(world: FactGraph, need: Need, draw: Stream) -> str:
    if isinstance(need, Description):
        return _bare_name(world, need, draw)
    others = [r for r in world.relations_of(need.subject) if r != need.relation]
    return _right(world, Lookup(draw.choice(others or [need.relation]), need.subject), draw)


def _namesake(world: FactGraph, need: Need, draw: Stream) -> str:
    entity = need.object if isinstance(need, Description) else need.subject
    other = namesake(world, entity, draw)
    if isinstance(need, Description):
        return _right(world, Description(need.relation, need.word, other, need.template), draw)
    return _right(world, Lookup(need.relation, other), draw)


def _bare_name(world: FactGraph, need: Need, draw: Stream) -> str:
    return need.word if isinstance(need, Description) else world.names[need.subject]


def _half_name(world: FactGraph, need: Need, draw: Stream) -> str:
    return draw.choice(_bare_name(world, need, draw).split())


_WORDINGS: Mapping[str, Callable[[FactGraph, Need, Stream], str]] = {
    "right": _right,
    "wrong relation": _wrong_relation,
    "namesake": _namesake,
    "bare name": _bare_name,
    "half a name": _half_name,
}


def namesake(world: FactGraph, entity: int, draw: Stream) -> int:
    """Draw another entity of the same type, which shares a word of its name if one does."""
    span = world.spans[world.types[entity]]
    words = world.names[entity].lower().split()
    similar = [e for w in words for e in world.by_word.get(w, ()) if e in span and e != entity]
    if similar:
        return draw.choice(similar)
    return span.start + (entity - span.start + 1 + draw.integer(len(span) - 1)) % len(span)
