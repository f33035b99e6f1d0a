"""What several repeats of a question say: pass@k and majority@k, exactly and without bias."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from math import comb

from zs_env.evaluation.statistics import mean_of


def pass_at_k(repeats: int, right: int, k: int) -> float:
    """Return the chance that at least one of k repeats is right, ``1 - C(n - c, k) / C(n, k)``.

    The k are drawn from the n repeats, c of which are right, without replacement; so it is an
    unbiased estimate of pass@k (Chen et al. 2021, arXiv 2107.03374, equation 1).

    Args:
        repeats: number of repeats, n.
        right: number of those that are right, c.
        k: number of repeats that are drawn.

    Raises:
        ValueError: ``k`` is not in [1, repeats], or ``right`` not in [0, repeats].
    """
    _check(repeats, k)
    if not 0 <= right <= repeats:
        raise ValueError(f"`right` must be in [0, {repeats}], got {right}.")
    # One division of integers: a difference of floats would lose small chances.
    return (comb(repeats, k) - comb(repeats - right, k)) / comb(repeats, k)


def majority_at_k(answers: Sequence[Hashable], scores: Sequence[float], k: int) -> float:
    """Return the expected score of the most frequent answer among k repeats.

    The expectation is exact, over all subsets of k repeats. Answers that are equally frequent share
    the vote evenly. No answer is no vote; where none of the k answers, the score is 0.0.

    Args:
        answers: normalised answer of each repeat; None where there is none.
        scores: score of each repeat.
        k: number of repeats that vote.

    Raises:
        ValueError: ``k`` is not in [1, number of repeats].
    """
    _check(len(answers), k)
    by_answer: dict[Hashable, list[float]] = {}
    for answer, score in zip(answers, scores, strict=True):
        if answer is not None:
            by_answer.setdefault(answer, []).append(score)
    counts = tuple(sorted(map(len, by_answer.values())))
    silent = len(answers) - sum(counts)
    # `fsum` is not needed for order: sorted, so that the order of repeats decides nothing.
    parts = (
        _chance_to_win(len(own), counts, silent, k) * mean_of(own).mean
        for own in by_answer.values()
    )
    return sum(sorted(parts))


def _check(repeats: int, k: int) -> None:
    if not 1 <= k <= repeats:
        raise ValueError(f"`k` must be in [1, {repeats}], the number of repeats, got {k}.")


@lru_cache(maxsize=4096)
def _chance_to_win(own: int, counts: tuple[int, ...], silent: int, k: int) -> float:
    """Return the chance that an answer given ``own`` times is the most frequent one among k.

    Args:
        own: how often the answer was given.
        counts: how often each answer was given, this one included, in order of size.
        silent: number of repeats without an answer.
        k: number of repeats that vote.
    """
    others = list(counts)
    others.remove(own)
    won = 0.0
    for votes in range(1, min(own, k) + 1):
        # The number of ways to draw so many repeats, such that so many others have equal votes.
        ways = {(votes, 0): comb(own, votes)}
        for other in others:
            ways = _with_votes_of(other, ways, votes, k)
        won += sum(
            number * comb(silent, k - drawn) / (1 + equal)
            for (drawn, equal), number in ways.items()
        )
    return won / comb(sum(counts) + silent, k)


def _with_votes_of(
    other: int, ways: dict[tuple[int, int], int], most: int, k: int
) -> dict[tuple[int, int], int]:
    """Return the ways after another answer, given ``other`` times, got ``most`` votes or fewer."""
    result: dict[tuple[int, int], int] = {}
    for (drawn, equal), number in ways.items():
        for votes in range(min(other, most, k - drawn) + 1):
            key = drawn + votes, equal + (votes == most)
            result[key] = result.get(key, 0) + number * comb(other, votes)
    return result
