"""How far two judges agree: their table, agreement and Cohen's kappa, with intervals.

Searches of one question are alike, so errors are those of the jackknife that leaves out one
question at a time (Efron and Stein 1981).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from zs_env.errors import SimulationDataError
from zs_env.evaluation.share import Share, wilson
from zs_env.evaluation.statistics import Estimate, mean_of
from zs_env.simulation.searches import CollectedSearch

Table = Mapping[tuple[bool, bool], int]
"""Number of searches by the verdicts of the first and of the second judge."""


class NamedShare(NamedTuple):
    """A share, and what it is of."""

    name: str
    share: Share


class Measure(NamedTuple):
    """A measure of agreement.

    Attributes:
        mean: the measure, over all searches.
        standard_error: its standard error, from a jackknife over questions; None if a single
            question, or what is left without one, gives none.
        questions: number of questions.
        interval: 95 % interval, within the range of the measure; None without an error. Where the
            error is 0, as for full agreement, it is Wilson's of the agreement, with a question for
            each trial.
    """

    mean: float
    standard_error: float | None
    questions: int
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Agreement:
    """What two judges say of the same searches.

    Attributes:
        first: name of the first judge.
        second: name of the second judge.
        table: number of searches by both verdicts, the first judge's first.
        agreement: share of the searches on which they agree.
        kappa: Cohen's kappa; None if one of them always says the same, so that chance alone gives
            full agreement or none can be expected.
        left_out: number of searches without a verdict of one of them.
        differing: searches on which they differ, in order.
    """

    first: str
    second: str
    table: Table
    agreement: Measure
    kappa: Measure | None
    left_out: int
    differing: Sequence[CollectedSearch]

    @property
    def searches(self) -> int:
        """Number of searches that both judged."""
        return sum(self.table.values())

    def shares(self) -> list[NamedShare]:
        """Return how often the first judge says what the second one does, verdict by verdict."""
        return [
            NamedShare(name, Share(self.table[said, said], self._second(said)))
            for name, said in (("useful", True), ("noisy", False))
        ]

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of JSON, without the searches."""
        return {
            "first": self.first,
            "second": self.second,
            "searches": self.searches,
            "left_out": self.left_out,
            "both_useful": self.table[True, True],
            "both_noisy": self.table[False, False],
            f"only_{self.first}_useful": self.table[True, False],
            f"only_{self.second}_useful": self.table[False, True],
            "agreement": _estimate(self.agreement),
            "kappa": None if self.kappa is None else _estimate(self.kappa),
        }

    def __str__(self) -> str:
        """Return a few lines to print."""
        kappa = "not defined: a judge always says the same"
        lines = [
            f"{self.first} and {self.second} on {self.searches} searches"
            + (f" ({self.left_out} without a verdict of both left out)" if self.left_out else ""),
            f"  agreement      {_shown(self.agreement)}",
            f"  Cohen's kappa  {kappa if self.kappa is None else _shown(self.kappa)}",
        ]
        for name, share in self.shares():
            lines.append(f"  of what is {name} to {self.second}, also to {self.first}: {share}")
        return "\n".join(lines)

    def _second(self, said: bool) -> int:
        return self.table[True, said] + self.table[False, said]


def compare_judges(searches: Iterable[CollectedSearch], first: str, second: str) -> Agreement:
    """Compare the verdicts of two judges.

    Args:
        searches: searches with verdicts.
        first: name of a judge.
        second: name of another one, such as one that knows.

    Raises:
        SimulationDataError: no search has verdicts of both on the same documents.
    """
    tables: dict[tuple[str, str], Counter[tuple[bool, bool]]] = {}
    differing = []
    left_out = 0
    for search in searches:
        said = search.verdicts.get(first), search.verdicts.get(second)
        if said[0] is None or said[1] is None or not same_documents(search, first, second):
            left_out += 1
            continue
        question = search.dataset, search.question_id
        tables.setdefault(question, Counter())[said[0], said[1]] += 1
        if said[0] != said[1]:
            differing.append(search)
    if not tables:
        raise SimulationDataError(
            f"no search has a verdict of both {first!r} and {second!r} on the same documents: "
            "judge by each of them first, with the same `--top-k`."
        )
    clusters = list(tables.values())
    agreement = _measure(clusters, agreement_of, 0.0, lambda share: share)
    assert agreement is not None
    total: Counter[tuple[bool, bool]] = sum(clusters, Counter())
    chance = _chance(total)
    return Agreement(
        first,
        second,
        {(a, b): total[a, b] for a in (True, False) for b in (True, False)},
        agreement,
        _measure(clusters, kappa_of, -1.0, lambda share: (share - chance) / (1 - chance)),
        left_out,
        differing,
    )


def same_documents(search: CollectedSearch, first: str, second: str) -> bool:
    """Return whether the verdicts of two judges are on as many documents of ``search``."""
    return search.judged_top_k.get(first) == search.judged_top_k.get(second)


def agreement_of(table: Table) -> float | None:
    """Return the share of a table on which both agree; None if it is empty."""
    total = sum(table.values())
    same = table.get((True, True), 0) + table.get((False, False), 0)
    return same / total if total else None


def kappa_of(table: Table) -> float | None:
    """Return Cohen's kappa, ``(o - e) / (1 - e)`` (Cohen 1960).

    ``o`` is the agreement, and ``e`` that of judges who draw their verdicts by their own shares.
    None if ``e`` is 1 or the table is empty.
    """
    observed = agreement_of(table)
    if observed is None:
        return None
    expected = _chance(table)
    return None if math.isclose(expected, 1.0) else (observed - expected) / (1 - expected)


def _chance(table: Table) -> float:
    """Return the agreement of judges who draw their verdicts by their own shares."""
    total = sum(table.values())
    useful = table.get((True, True), 0)
    first = (useful + table.get((True, False), 0)) / total
    second = (useful + table.get((False, True), 0)) / total
    return first * second + (1 - first) * (1 - second)


def _measure(
    clusters: Sequence[Counter[tuple[bool, bool]]],
    statistic: Callable[[Table], float | None],
    least: float,
    of_agreement: Callable[[float], float],
) -> Measure | None:
    """Return a statistic with its interval, which stays between ``least`` and 1.

    Args:
        clusters: table of each question.
        statistic: agreement or kappa of a table.
        least: least value of the statistic.
        of_agreement: the statistic for a given agreement.
    """
    estimate = _jackknife(clusters, statistic)
    if estimate is None:
        return None
    interval = estimate.interval
    if estimate.standard_error is not None and estimate.standard_error < 1e-12:
        share = agreement_of(sum(clusters, Counter())) or 0.0
        low, high = wilson(share, estimate.questions)
        interval = of_agreement(low), of_agreement(high)
    if interval is not None:
        interval = max(interval[0], least), min(interval[1], 1.0)
    return Measure(*estimate, interval)


def _jackknife(
    clusters: Sequence[Counter[tuple[bool, bool]]], statistic: Callable[[Table], float | None]
) -> Estimate | None:
    """Return a statistic of all clusters, with its standard error over clusters."""
    total: Counter[tuple[bool, bool]] = sum(clusters, Counter())
    whole = statistic(total)
    if whole is None:
        return None
    count = len(clusters)
    pseudo = []
    for cluster in clusters:
        rest = Counter(total)
        rest.subtract(cluster)
        value = statistic(rest)
        if value is None:
            return Estimate(whole, None, count)
        pseudo.append(count * whole - (count - 1) * value)
    return Estimate(whole, mean_of(pseudo).standard_error, count)


def _estimate(estimate: Measure) -> dict[str, Any]:
    interval = estimate.interval
    return {
        "value": round(estimate.mean, 6),
        "interval": None if interval is None else [round(bound, 6) for bound in interval],
        "questions": estimate.questions,
    }


def _shown(estimate: Measure) -> str:
    interval = estimate.interval
    if interval is None:
        return f"{estimate.mean:.3f}"
    return f"{estimate.mean:.3f} ({interval[0]:.3f} – {interval[1]:.3f})"
