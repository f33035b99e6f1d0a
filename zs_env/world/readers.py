"""Scripted readers that take noise differently, to measure what care is worth.

They plan as `zs_env.world.solver.HopByHopSolver` does, and differ in what they believe.
"""

from __future__ import annotations

from dataclasses import dataclass

from zs_env.world.graph import FactGraph
from zs_env.world.plans import Comparison, Lookup, Need
from zs_env.world.solver import Found, HopByHopSolver, Step, claims, newest


@dataclass(frozen=True)
class Both:
    """Two missing facts, which one query asks for."""

    first: Lookup
    second: Lookup

    def phrase(self, world: FactGraph) -> str:
        """Return a noun phrase for both objects, always in the same words."""
        return f"{self.first.phrase(world)} and {self.second.phrase(world)}"

    def wordings(self, world: FactGraph) -> list[str]:
        """Return queries for both facts."""
        pairs = zip(self.first.wordings(world), self.second.wordings(world), strict=True)
        return [f"{first} and {second}" for first, second in pairs]


class CarefulReader(HopByHopSolver):
    """Reader that believes what documents agree on, and else asks again in other words.

    It checks the subject, and distrusts what is doubtful, denied or out of date: statements count
    as in `zs_env.world.solver.claims`. It believes what two documents more give than give anything
    else; of a fact that changed, what the newest of different dates gives. In the last turn it
    believes what the most say. What a question compares it asks for at once.
    """

    def compare(self, plan: Comparison, searches: list[Found], is_last: bool) -> int | Step:
        """Return the entity that the comparison finds, or what to search for."""
        lookups = [Lookup(plan.relation, entity) for entity in (plan.first, plan.second)]
        missing = [need for need in lookups if self.believe(need, searches, is_last) is None]
        return Both(*lookups) if len(missing) == 2 else super().compare(plan, searches, is_last)

    def believe(self, need: Need, searches: list[Found], is_last: bool) -> int | None:
        """Return the entity to believe in for ``need``, or None to search for it."""
        found = claims(self.world, need, searches)
        if is_last:
            return newest(found)
        years = {year for year, _ in found}
        if need.relation.name in self.world.blueprint.changing and len(years) < 2:
            return None
        counts = sorted((n for (year, _), n in found.items() if year == max(years)), reverse=True)
        best, second = (*counts, 0, 0)[:2]
        enough = 1 if years - {0} else 2
        return newest(found) if best - second >= enough else None


class CarelessReader(HopByHopSolver):
    """Reader that takes the first statement which sounds like what it searched for.

    It does not mind about whom it is, nor whether it is doubted, denied or out of date.
    """

    def believe(self, need: Need, searches: list[Found], is_last: bool) -> int | None:
        """Return the entity to believe in for ``need``, or None to search for it."""
        return first_mention(self.world, need, searches)


def first_mention(world: FactGraph, need: Need, searches: list[Found]) -> int | None:
    """Return what the first statement that sounds like ``need``, in a search for it, gives."""
    wordings = set(need.wordings(world))
    for search in searches:
        if search.query in wordings:
            for sentence in (s for document in search.documents for s in document):
                entity = need.match_any(world, sentence)
                if entity is not None:
                    return entity
    return None
