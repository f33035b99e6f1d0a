"""Tests and intervals of paired differences: two agents on the same questions.

The input is a difference for each question, so that repeats of a question are averaged before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import comb
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from zs_env import keyed_random

Array = NDArray[np.float64]

NUM_RESAMPLES = 10_000
MAX_EXACT = 16
"""Number of questions up to which a sign-flip test tries all signs."""
_CHUNK = 1 << 20  # random numbers at a time


def bootstrap_means(differences: Sequence[float], key: keyed_random.Part = 0) -> Array:
    """Return means of samples of the questions with replacement, shape (10000,), float64.

    Args:
        differences: difference for each question, shape (Q,).
        key: fixes the samples; independent datasets need different ones.

    Raises:
        ValueError: there are no differences.
    """
    return _bootstrap_means(tuple(differences), key)


def bootstrap_interval(means: Array) -> tuple[float, float]:
    """Return the 95 % percentile interval of `bootstrap_means` (Efron 1979)."""
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    Under the null hypothesis each question on which the two disagree falls to either side with
    chance 1/2: ``p = min(1, 2 * P(Binomial(b + c, 1/2) <= min(b, c)))`` (McNemar 1947).

    Args:
        gained: number of questions that only the second answers, b.
        lost: number of questions that only the first answers, c.
    """
    total = gained + lost
    tail = sum(comb(total, count) for count in range(min(gained, lost) + 1))
    return float(min(1.0, 2 * tail / 2**total))


def sign_flip(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the sign-flip test that the mean difference is zero.

    Under the null hypothesis each difference is as likely as its negative. The p-value is the share
    of sign assignments whose absolute sum is at least the one found (Fisher 1935): of all of them,
    if at most 16 differences are not zero; else ``(1 + hits) / (1 + 10000)`` of 10,000 random ones
    (Phipson and Smyth 2010).

    Raises:
        ValueError: there are no differences.
    """
    return _sign_flip(tuple(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values, corrected for their number by Holm's method (1979), in their order."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def questions_needed(
    difference: float, deviation: float, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return the number of questions at which a difference is found with probability ``power``.

    ``n = ((z(1 - alpha / 2) + z(power)) * deviation / difference)^2``, rounded up, for a two-sided
    test at the level ``alpha`` (Miller 2024, arXiv 2411.00640, section 5).

    Args:
        difference: mean difference that is to be found.
        deviation: standard deviation of the differences of questions.
        power: chance to find it.
        alpha: chance to find one where there is none.

    Returns:
        The number, at least 2; None if the difference is zero: no number is enough.

    Raises:
        ValueError: ``deviation`` is negative.
    """
    if deviation < 0.0:
        raise ValueError(f"`deviation` must be at least 0, got {deviation}.")
    if difference == 0.0:
        return None
    normal = NormalDist()
    quantiles = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)
    return max(2, math.ceil((quantiles * deviation / difference) ** 2))


# Macro means use the samples of their datasets again, and metrics often agree: both are kept.
@lru_cache(maxsize=64)
def _bootstrap_means(differences: tuple[float, ...], key: keyed_random.Part) -> Array:
    values = _as_array(differences)
    picks = _random_integers(len(values), len(values), "bootstrap", key)
    means = np.concatenate([values[pick].mean(1) for pick in picks])
    means.flags.writeable = False
    return means


@lru_cache(maxsize=64)
def _sign_flip(differences: tuple[float, ...]) -> float:
    values = _as_array(differences)
    values = values[values != 0.0]
    # Sums that are equal but for rounding count as equal.
    least = abs(math.fsum(values)) - 1e-9 * float(np.abs(values).sum())
    if len(values) <= MAX_EXACT:
        return float(np.mean(np.abs(_all_signs(len(values)) @ values) >= least))
    flips = _random_integers(2, len(values), "sign flip", 0)
    hits = sum(int((np.abs((2 * flip - 1) @ values) >= least).sum()) for flip in flips)
    return (1 + hits) / (1 + NUM_RESAMPLES)


def _as_array(differences: tuple[float, ...]) -> Array:
    if not len(differences):
        raise ValueError("a paired comparison needs at least one question, got none.")
    return np.asarray(differences, dtype=np.float64)


def _all_signs(count: int) -> Array:
    """Return all assignments of signs, shape (2 ** count, count)."""
    bits: NDArray[np.int64] = np.arange(2**count)[:, None] >> np.arange(count) & 1
    return np.asarray(2 * bits - 1, dtype=np.float64)


def _random_integers(high: int, width: int, *key: keyed_random.Part) -> Iterator[NDArray[np.int64]]:
    """Yield integers on [0, high), in all of shape (10000, width), a part at a time."""
    step = max(1, _CHUNK // width)
    for start in range(0, NUM_RESAMPLES, step):
        size = min(step, NUM_RESAMPLES - start)
        yield keyed_random.integers(high, size * width, *key, start).reshape(size, width)
