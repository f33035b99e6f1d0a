"""Metrics: what an answer is worth, by name.

``f1``, ``exact_match`` and ``substring_match`` are the scores of `zs_env.rewards`; ``squad_f1`` and
``squad_exact_match`` are those of `zs_env.evaluation.squad`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from zs_env.checks import check_choice
from zs_env.evaluation.record import Record
from zs_env.evaluation.squad import squad_exact_match, squad_f1
from zs_env.loading import Spec, find_callable, make_by_name, parse_spec
from zs_env.rewards import REWARDS, RewardFunction


@runtime_checkable
class Metric(Protocol):
    """A named score of records.

    It gets many records at once, so that one that asks a model can ask for all of them together.
    """

    @property
    def name(self) -> str:
        """Name of the score in `Record.scores`."""
        ...

    def score(self, records: Sequence[Record]) -> list[float | None]:
        """Return the score of each record, in order; None for one that could not be scored."""
        ...


@dataclass(frozen=True)
class AnswerMetric:
    """A metric that is a function of the answer and the golden answers.

    Attributes:
        name: name of the score.
        function: function (prediction, golden_answers) -> float.
    """

    name: str
    function: RewardFunction

    def score(self, records: Sequence[Record]) -> list[float | None]:
        """Return the score of each answer; 0.0 where there is none.

        Raises:
            ValueError: the function returned something else than a finite number.
        """
        return [self._score(record) for record in records]

    def _score(self, record: Record) -> float:
        if record.answer is None:
            return 0.0
        return _as_score(self.name, self.function(record.answer, record.golden_answers), record)


def _as_score(name: str, value: Any, record: Record) -> float:
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(
            f"metric {name!r} must return a finite number, got {value!r} for question "
            f"{record.question_id!r}."
        )
    return score


METRICS: dict[str, Callable[[str, Sequence[str]], float]] = {
    **REWARDS,
    "squad_f1": squad_f1,
    "squad_exact_match": squad_exact_match,
}
"""Metrics that are functions of the answer, by name."""

JUDGE, JUDGE_CLASS = "judge", "zs_env.evaluation.judge:Judge"


def scores_of(answer: str | None, golden_answers: Sequence[str]) -> dict[str, float]:
    """Return the score of an answer by each of `METRICS`; 0.0 each without an answer."""
    if answer is None:
        return dict.fromkeys(METRICS, 0.0)
    return {name: float(score(answer, golden_answers)) for name, score in METRICS.items()}


def make_metric(metric: Spec | Metric) -> Metric:
    """Make the metric that ``metric`` stands for.

    Args:
        metric: a name in `METRICS`; ``"judge"``, with the options of
            `zs_env.evaluation.judge.Judge`; ``"module:function"`` of (prediction, golden_answers);
            ``"module:Class"``, with options, of a `Metric`; or a `Metric`.

    Raises:
        ValueError: the name is unknown, or cannot be imported.
        TypeError: an option is unknown, or the class is no `Metric`.
    """
    if isinstance(metric, Metric):
        return metric
    name, options = parse_spec("metric", metric)
    if name == JUDGE:
        return make_metric({"name": JUDGE_CLASS, **options})
    if ":" not in name:
        check_choice("metric", name, METRICS)
        if options:
            raise TypeError(f"metric {name!r} takes no options, got {', '.join(options)}.")
        return AnswerMetric(name, METRICS[name])
    found = find_callable("metric", name)
    if isinstance(found, type) or options:
        made: Metric = make_by_name("metric", metric, {}, {}, Metric)  # type: ignore[type-abstract]
        return made
    return AnswerMetric(name, found)


def score_records(records: Iterable[Record], metrics: Iterable[Spec | Metric]) -> list[Record]:
    """Return the records with the scores of ``metrics``, beside those that they have.

    Failed records stay as they are. A record that a metric could not score lacks its score.

    Raises:
        ValueError: a metric did not return one score for each record, a finite number or None.
    """
    kept = list(records)
    scored = [number for number, record in enumerate(kept) if not record.failed]
    for metric in map(make_metric, metrics):
        scores = metric.score([kept[number] for number in scored])
        if len(scores) != len(scored):
            raise ValueError(
                f"metric {metric.name!r} must return one score for each record, got "
                f"{len(scores)} for {len(scored)}."
            )
        for number, score in zip(scored, scores, strict=True):
            kept[number] = _with_score(kept[number], metric.name, score)
    return kept


def _with_score(record: Record, name: str, score: float | None) -> Record:
    scores = {other: value for other, value in record.scores.items() if other != name}
    if score is not None:
        scores[name] = _as_score(name, score, record)
    return replace(record, scores=scores)
