"""Careful readers that lack one skill of the tier *hard*: what the rest earns is no half of it.

They are audited by ``python -m benchmarks.world_audit --tier hard``. Where there are two
candidates, or two versions of a fact, half of all coins are right.
"""

from __future__ import annotations

from zs_env.evaluation.methods.scripted import Solver
from zs_env.keyed_random import Stream
from zs_env.world.plans import Comparison, Need
from zs_env.world.readers import CarefulReader
from zs_env.world.solver import Found, Step, claims, given_in


class CoinReader(CarefulReader):
    """Careful reader that takes either candidate of a comparison, and looks at neither's value."""

    def compare(self, plan: Comparison, searches: list[Found], is_last: bool) -> int | Step:
        """Return one of the two entities, always the same of a pair."""
        draw = Stream("coin", self.world.seed, plan.relation.name, plan.first, plan.second)
        return draw.choice((plan.first, plan.second))


class AnyDateReader(CarefulReader):
    """Careful reader that takes what any of several dates gives for what holds now.

    It asks as long as the careful reader does, and then does not compare the dates.
    """

    def believe(self, need: Need, searches: list[Found], is_last: bool) -> int | None:
        """Return the entity to believe in for ``need``, or None to search for it."""
        entity = super().believe(need, searches, is_last)
        if entity is None or need.relation.name not in self.world.blueprint.changing:
            return entity
        found = claims(self.world, need, searches)
        years = sorted({year for year, _ in found})
        draw = Stream("any date", self.world.seed, need.phrase(self.world))
        return given_in(found, draw.choice(years))


class Coin(Solver):
    """Episode of `CoinReader`."""

    reader = CoinReader


class AnyDate(Solver):
    """Episode of `AnyDateReader`."""

    reader = AnyDateReader
