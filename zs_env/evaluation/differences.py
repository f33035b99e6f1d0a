"""The numbers of a paired difference: of one dataset, and of the mean over datasets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from zs_env.evaluation.paired import (
    bootstrap_interval,
    bootstrap_means,
    mcnemar,
    questions_needed,
    sign_flip,
)
from zs_env.evaluation.record import Record
from zs_env.evaluation.statistics import Estimate, macro_mean, mean_of, question_means

MCNEMAR = "McNemar"
SIGN_FLIP = "sign flip"

Pair = tuple[Record, Record]


@dataclass(frozen=True)
class Paired:
    """What pairs of records say of one metric: of the second run minus the first.

    Attributes:
        first_mean: mean of the first run.
        second_mean: mean of the second run.
        difference: mean difference over questions.
        interval: 95 % bootstrap interval of the difference; None with a single question.
        p_value: two-sided p-value.
        test: `MCNEMAR`, where each question has one pair of scores that are 0.0 or 1.0, else
            `SIGN_FLIP`.
        questions_needed: number of questions at which a difference like this is found in four of
            five runs, at the level of 5 %; None if there is no difference, or a single question.
    """

    first_mean: float
    second_mean: float
    difference: Estimate
    interval: tuple[float, float] | None
    p_value: float
    test: str
    questions_needed: int | None


class QuestionScores(NamedTuple):
    """Scores of pairs, as means over the repeats of each question.

    Attributes:
        first: means of the first run, in the order of the questions.
        second: means of the second run.
        single: whether each question has one pair.
    """

    first: list[float]
    second: list[float]
    single: bool

    @property
    def differences(self) -> list[float]:
        """Second minus first, for each question."""
        return [second - first for first, second in zip(self.first, self.second, strict=True)]


def question_scores(pairs: Sequence[Pair], metric: str) -> QuestionScores:
    """Return the scores of pairs of one dataset, all of which have the metric."""
    questions = [first.question_id for first, _ in pairs]
    first = question_means([first.scores[metric] for first, _ in pairs], questions)
    second = question_means([second.scores[metric] for _, second in pairs], questions)
    return QuestionScores(first, second, len(first) == len(pairs))


def paired_of(dataset: str, scores: QuestionScores) -> Paired:
    """Return the numbers of one dataset, whose name fixes the samples of the bootstrap."""
    difference = mean_of(scores.differences)
    binary = scores.single and {*scores.first, *scores.second} <= {0.0, 1.0}
    return Paired(
        first_mean=mean_of(scores.first).mean,
        second_mean=mean_of(scores.second).mean,
        difference=difference,
        interval=_interval(difference, {dataset: scores}),
        p_value=_mcnemar(scores.differences) if binary else sign_flip(scores.differences),
        test=MCNEMAR if binary else SIGN_FLIP,
        questions_needed=_needed(difference),
    )


def macro_of(datasets: Mapping[str, QuestionScores]) -> Paired:
    """Return the numbers of the mean over datasets, each of which counts once.

    Questions are drawn, and signs flipped, within datasets. The number of questions that are needed
    is that of all datasets together, with shares as they are.
    """
    difference = macro_mean([mean_of(scores.differences) for scores in datasets.values()])
    # What each question adds to the mean over datasets.
    shares = [d / len(own.first) for own in datasets.values() for d in own.differences]
    return Paired(
        first_mean=macro_mean([mean_of(scores.first) for scores in datasets.values()]).mean,
        second_mean=macro_mean([mean_of(scores.second) for scores in datasets.values()]).mean,
        difference=difference,
        interval=_interval(difference, datasets),
        p_value=sign_flip(shares),
        test=SIGN_FLIP,
        questions_needed=_needed(difference),
    )


def _interval(
    difference: Estimate, datasets: Mapping[str, QuestionScores]
) -> tuple[float, float] | None:
    if difference.standard_error is None:
        return None
    means = [bootstrap_means(own.differences, dataset) for dataset, own in datasets.items()]
    return bootstrap_interval(np.mean(means, axis=0))


def _mcnemar(differences: Sequence[float]) -> float:
    return mcnemar(differences.count(1.0), differences.count(-1.0))


def _needed(difference: Estimate) -> int | None:
    if difference.standard_error is None:
        return None
    deviation = difference.standard_error * math.sqrt(difference.questions)
    return questions_needed(difference.mean, deviation)
