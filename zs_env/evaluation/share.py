"""A share of counted things, with its interval."""

from __future__ import annotations

import math
from typing import NamedTuple

Z = 1.96
"""Quantile of the normal distribution for 95 % intervals."""


def wilson(share: float, trials: float) -> tuple[float, float]:
    """Return the 95 % interval of a probability (Wilson 1927); (0, 1) without trials.

    Args:
        share: share of the trials in which something happened.
        trials: number of trials; need not be whole, where they stand for trials that are alike.
    """
    if trials <= 0:
        return 0.0, 1.0
    weight = Z**2 / trials
    centre = share + weight / 2
    spread = Z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max((centre - spread) / (1 + weight), 0.0), min((centre + spread) / (1 + weight), 1.0)


class Share(NamedTuple):
    """Number of times that something happened, of so many."""

    times: int
    total: int

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the probability (Wilson 1927); (0, 1) of nothing."""
        return wilson(self.times / max(self.total, 1), self.total)

    def __str__(self) -> str:
        """Return percentage and interval."""
        if self.total == 0:
            return "–"
        low, high = self.interval()
        return f"{self.times / self.total:.0%} ({low:.0%} – {high:.0%})"
