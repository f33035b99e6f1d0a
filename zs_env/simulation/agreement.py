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
from zs_env.evaluation.share import Share
from zs_env.evaluation.statistics import Estimate, mean_of
from zs_env.simulation.searches import CollectedSearch

Table = Mapping[tuple[bool, bool], int]
"""Number of searches by the verdicts of the first and of the second judge."""


class NamedShare(NamedTuple):
    """A share, and what it is of."""

    name: str
    share: Share


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
    agreement: Estimate
    kappa: Estimate | None
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
    agreement = _jackknife(clusters, agreement_of)
    assert agreement is not None
    total: Counter[tuple[bool, bool]] = sum(clusters, Counter())
    return Agreement(
        first,
        second,
        {(a, b): total[a, b] for a in (True, False) for b in (True, False)},
        agreement,
        _jackknife(clusters, kappa_of),
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
    total = sum(table.values())
    observed = agreement_of(table)
    if observed is None:
        return None
    useful = table.get((True, True), 0)
    first = (useful + table.get((True, False), 0)) / total
    second = (useful + table.get((False, True), 0)) / total
    expected = first * second + (1 - first) * (1 - second)
    return None if math.isclose(expected, 1.0) else (observed - expected) / (1 - expected)


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


def _estimate(estimate: Estimate) -> dict[str, Any]:
    interval = estimate.interval
    return {
        "value": round(estimate.mean, 6),
        "interval": None if interval is None else [round(bound, 6) for bound in interval],
        "questions": estimate.questions,
    }


def _shown(estimate: Estimate) -> str:
    interval = estimate.interval
    if interval is None:
        return f"{estimate.mean:.3f}"
    return f"{estimate.mean:.3f} ({interval[0]:.3f} – {interval[1]:.3f})"
