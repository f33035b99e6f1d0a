"""Means of evaluations, with their errors. Questions are drawn at random; repeats are not.

Several records of one question are one cluster: they say little more of other questions than one
record does (Miller 2024, "Adding error bars to evals", arXiv 2411.00640, section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean over questions.

    Attributes:
        mean: mean.
        standard_error: standard error of the mean; None if a single question gives none.
        questions: number of questions.
    """

    mean: float
    standard_error: float | None
    questions: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval, ``mean ± t * standard_error``, with one degree less than questions."""
        if self.standard_error is None:
            return None
        half = t_quantile(0.5 + CONFIDENCE / 2, self.questions - 1) * self.standard_error
        return self.mean - half, self.mean + half


def question_means(values: Iterable[float], questions: Iterable[Hashable]) -> list[float]:
    """Return the mean of the values of each question, in the order in which questions come first.

    Args:
        values: value of each record.
        questions: question of each record.
    """
    clusters: dict[Hashable, list[float]] = {}
    for value, question in zip(values, questions, strict=True):
        clusters.setdefault(question, []).append(value)
    return [math.fsum(cluster) / len(cluster) for cluster in clusters.values()]


def mean_of(values: Sequence[float]) -> Estimate:
    """Return the mean of one value a question, ``m``, and its standard error.

    The error is ``sqrt(sum((x - m)^2) / (n * (n - 1)))`` for n questions.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a mean needs at least one value, got none.")
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean, None, 1)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Estimate(mean, math.sqrt(squares / (count * (count - 1))), count)


def clustered_mean(values: Iterable[float], questions: Iterable[Hashable]) -> Estimate:
    """Return the mean over questions, each of which counts once, however many records it has.

    The error is the cluster-robust one with the correction CR1, ``G / (G - 1)`` for G questions, of
    the mean that weighs each record by one over the records of its question. With as many records
    for each question, this is ``sqrt(G / (G - 1) * sum_q(sum_r(x_qr - m))^2) / n`` for n records.

    Args:
        values: value of each record.
        questions: question of each record: its cluster.

    Raises:
        ValueError: there are no values.
    """
    return mean_of(question_means(values, questions))


def macro_mean(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of the means of k independent datasets.

    Its error is ``sqrt(sum(standard_error^2)) / k``, and None if that of one dataset is.

    Raises:
        ValueError: there are no datasets.
    """
    if not estimates:
        raise ValueError("a macro mean needs at least one dataset, got none.")
    count = len(estimates)
    errors = [estimate.standard_error for estimate in estimates]
    known = [error for error in errors if error is not None]
    return Estimate(
        math.fsum(estimate.mean for estimate in estimates) / count,
        math.hypot(*known) / count if len(known) == count else None,
        sum(estimate.questions for estimate in estimates),
    )


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of Student's t distribution, to 12 digits, by bisection.

    Args:
        probability: chance of a smaller value, in (0.5, 1).
        degrees: degrees of freedom, at least 1. Above 10,000 it is the normal quantile.
    """
    normal = NormalDist().inv_cdf(probability)
    if degrees > 10_000:
        return normal
    # t is wider than the normal distribution, and nowhere wider than with one degree.
    low, high = normal, math.tan(math.pi * (probability - 0.5)) + 1.0
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (
            (middle, high) if _t_distribution(middle, degrees) < probability else (low, middle)
        )
    return high


def _t_distribution(t: float, degrees: int) -> float:
    """Return the chance of a value below ``t`` > 0 (Abramowitz and Stegun 1964, 26.7.3-26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for step in range(2 + odd, degrees - 1, 2):
        term *= cosine * cosine * (step - 1) / step
        total += term
    if odd:
        inside = 2 / math.pi * (angle + math.sin(angle) * total)
    else:
        inside = math.sin(angle) * total
    return 0.5 + inside / 2
