"""Paired comparison of runs on the same questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from zs_env.errors import RecordError
from zs_env.evaluation.alike import Run, matched
from zs_env.evaluation.differences import (
    Pair,
    Paired,
    QuestionScores,
    macro_of,
    paired_of,
    question_scores,
)
from zs_env.evaluation.paired import holm
from zs_env.evaluation.summary import metric_names

MACRO = "all (macro mean)"


@dataclass(frozen=True)
class Difference:
    """The comparison of two runs on a dataset, by one metric.

    Attributes:
        dataset: dataset, or `MACRO` for the mean over datasets.
        engine: engine; "one / other" where the runs had different ones.
        first: name of the first run.
        second: name of the second run.
        metric: name of the metric.
        pairs: number of pairs that were compared.
        failed: number of pairs that were left out because a side failed.
        unscored: number of other pairs that were left out because a side has no score.
        paired: the numbers; None if no pair is left, or for `MACRO` none of some dataset.
        p_holm: p-value, corrected by Holm's method for the number of runs that are compared with
            the first on this dataset by this metric.
    """

    dataset: str
    engine: str
    first: str
    second: str
    metric: str
    pairs: int
    failed: int
    unscored: int
    paired: Paired | None
    p_holm: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Comparison of runs with the first of them.

    Attributes:
        runs: names of the runs.
        metrics: names of the metrics, in order.
        differences: by metric, then dataset and engine, then run.
    """

    runs: tuple[str, ...]
    metrics: tuple[str, ...]
    differences: tuple[Difference, ...]


def compare(runs: Sequence[Run], *, any_engine: bool = False) -> Comparison:
    """Compare each run with the first, in pairs of records of the same question and repeat.

    Pairs with a side that failed are left out and counted.

    Args:
        runs: two runs or more, with different names.
        any_engine: whether the runs may have had different engines.

    Raises:
        RecordError: the runs were not asked alike, or have no records; the message says what.
        ValueError: there are fewer than two runs, or two have the same name.
    """
    names = tuple(run.name for run in runs)
    if len(runs) < 2 or len(set(names)) < len(names):
        raise ValueError(f"expected two runs or more with different names, got {names}.")
    found = matched(runs, any_engine)
    keys = sorted(found[0])
    if not keys:
        raise RecordError("the runs have no records to compare.")
    metrics = metric_names(r for records in found for r in records.values() if not r.failed)
    differences: list[Difference] = []
    for metric in metrics:
        columns = [
            _differences((names[0], name), metric, [(found[0][key], other[key]) for key in keys])
            for name, other in zip(names[1:], found[1:], strict=True)
        ]
        for same in zip(*columns, strict=True):
            differences += _with_holm(same)
    return Comparison(names, tuple(metrics), tuple(differences))


def _differences(names: tuple[str, str], metric: str, pairs: Sequence[Pair]) -> list[Difference]:
    """Compare two runs: on each dataset and engine, and by the macro mean on each engine."""
    engines: dict[str, dict[str, list[Pair]]] = {}
    for pair in pairs:
        datasets = engines.setdefault(pair[0].engine, {})
        datasets.setdefault(pair[0].dataset, []).append(pair)
    return [
        difference
        for _, datasets in sorted(engines.items())
        for difference in _on_engine(names, metric, datasets)
    ]


def _on_engine(
    names: tuple[str, str], metric: str, datasets: Mapping[str, Sequence[Pair]]
) -> list[Difference]:
    parts, scores = [], {}
    for dataset, pairs in datasets.items():
        scored = _scored(pairs, metric)
        failed = sum(map(_failed, pairs))
        counts = len(scored), failed, len(pairs) - failed - len(scored)
        scores[dataset] = question_scores(scored, metric)
        paired = paired_of(dataset, scores[dataset]) if scored else None
        parts.append(Difference(dataset, _engines(pairs), *names, metric, *counts, paired))
    if len(parts) == 1:
        return parts
    return [*parts, _macro(parts, scores)]


def _macro(parts: Sequence[Difference], scores: Mapping[str, QuestionScores]) -> Difference:
    return replace(
        parts[0],
        dataset=MACRO,
        engine=", ".join(dict.fromkeys(part.engine for part in parts)),
        pairs=sum(part.pairs for part in parts),
        failed=sum(part.failed for part in parts),
        unscored=sum(part.unscored for part in parts),
        paired=macro_of(scores) if all(part.paired for part in parts) else None,
    )


def _scored(pairs: Sequence[Pair], metric: str) -> list[Pair]:
    return [pair for pair in pairs if not _failed(pair) and all(metric in r.scores for r in pair)]


def _failed(pair: Pair) -> bool:
    return any(record.failed for record in pair)


def _engines(pairs: Sequence[Pair]) -> str:
    sides = ({record.engine for record in side} for side in zip(*pairs, strict=True))
    first, second = (", ".join(sorted(engines)) for engines in sides)
    return first if first == second else f"{first} / {second}"


def _with_holm(differences: Iterable[Difference]) -> list[Difference]:
    """Correct the p-values of several runs that are compared with the same first one."""
    found = list(differences)
    tested = [number for number, one in enumerate(found) if one.paired]
    p_values = [one.paired.p_value for one in found if one.paired]
    for number, corrected in zip(tested, holm(p_values), strict=True):
        found[number] = replace(found[number], p_holm=corrected)
    return found
