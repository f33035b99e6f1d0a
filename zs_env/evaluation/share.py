"""A share of counted things, with its interval."""

from __future__ import annotations

import math
from typing import NamedTuple

Z = 1.96
"""Quantile of the normal distribution for 95 % intervals."""


class Share(NamedTuple):
    """Number of times that something happened, of so many."""

    times: int
    total: int

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the probability (Wilson 1927); (0, 1) of nothing."""
        if self.total == 0:
            return 0.0, 1.0
        share, weight = self.times / self.total, Z**2 / self.total
        centre = share + weight / 2
        spread = Z * math.sqrt(share * (1 - share) / self.total + weight / (4 * self.total))
        return (centre - spread) / (1 + weight), (centre + spread) / (1 + weight)

    def __str__(self) -> str:
        """Return percentage and interval."""
        if self.total == 0:
            return "–"
        low, high = self.interval()
        return f"{self.times / self.total:.0%} ({low:.0%} – {high:.0%})"
