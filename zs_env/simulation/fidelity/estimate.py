"""Figures with their intervals: shares and means over searches, with errors by question."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from zs_env.evaluation.share import wilson
from zs_env.evaluation.statistics import clustered_mean, mean_of


class Figure(NamedTuple):
    """A figure and its 95 % interval.

    Attributes:
        value: the figure.
        low: lower end of the interval; None if a single question gives none.
        high: upper end.
        number: number of searches, or of pieces of text, that it is the mean of.
    """

    value: float
    low: float | None
    high: float | None
    number: int

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of JSON, with six digits."""
        interval = None
        if self.low is not None and self.high is not None:
            interval = [round(self.low, 6), round(self.high, 6)]
        return {"value": round(self.value, 6), "interval": interval, "number": self.number}

    def shown(self, decimals: int = 3) -> str:
        """Return value and interval as text."""
        value = f"{self.value:.{decimals}f}"
        if self.low is None or self.high is None:
            return value
        return f"{value} ({self.low:.{decimals}f} – {self.high:.{decimals}f})"


def share_of(values: Sequence[float], clusters: Sequence[Hashable]) -> Figure | None:
    """Return the mean of values in [0, 1], with an interval that stays in it.

    The mean is over clusters, as `zs_env.evaluation.statistics.clustered_mean`. The interval is
    Wilson's, of ``n = p (1 - p) / e^2`` trials: so many independent ones would have the same
    cluster-robust standard error ``e``. Where ``e`` is 0, as for shares of 0 and 1, ``n`` is the
    number of clusters.

    Args:
        values: value of each search, such as 1.0 if something happened.
        clusters: question of each search.

    Returns:
        The share; None without values.
    """
    if not values:
        return None
    estimate = clustered_mean(values, clusters)
    share, error = min(max(estimate.mean, 0.0), 1.0), estimate.standard_error
    if error is None:
        return Figure(share, None, None, len(values))
    trials = share * (1 - share) / error**2 if error > 1e-12 else float(estimate.questions)
    low, high = wilson(share, trials)
    return Figure(share, low, high, len(values))


def mean_figure(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None
) -> Figure | None:
    """Return the mean of values of at least 0, ``m ± t e`` cut at 0; None without values.

    Args:
        values: values.
        clusters: question of each; None if they are independent.
    """
    if not values:
        return None
    estimate = mean_of(values) if clusters is None else clustered_mean(values, clusters)
    if estimate.interval is None:
        return Figure(estimate.mean, None, None, len(values))
    low, high = estimate.interval
    return Figure(estimate.mean, max(low, 0.0), high, len(values))


def mixed(first: Figure, other: Figure, weight: float) -> Figure:
    """Return ``weight * first + (1 - weight) * other``, of two shares of the same searches.

    The ends of the interval are as far away as ``sqrt((w a)^2 + ((1 - w) b)^2)``, with the
    distances ``a`` and ``b`` of the shares from their own ends on that side, as if they were
    independent (Zou and Donner 2008, "Construction of confidence limits about effect measures").
    """
    value = weight * first.value + (1 - weight) * other.value
    if first.low is None or first.high is None or other.low is None or other.high is None:
        return Figure(value, None, None, first.number)
    down = math.hypot(weight * (first.value - first.low), (1 - weight) * (other.value - other.low))
    up = math.hypot(weight * (first.high - first.value), (1 - weight) * (other.high - other.value))
    return Figure(value, value - down, value + up, first.number)
