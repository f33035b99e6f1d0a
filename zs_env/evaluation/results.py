"""Results of a run: the numbers of each dataset and engine, macro means, and breakdowns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from zs_env.errors import RecordError
from zs_env.evaluation.record import Record
from zs_env.evaluation.statistics import Estimate, macro_mean
from zs_env.evaluation.summary import Prices, Summary, metric_names, summarise

InDomain = Callable[[str], bool] | Mapping[str, bool]
"""Whether a dataset is in domain, by its name as it was written or by the part before the comma."""
Breakdown = Callable[[Record], str | None]
"""The part that a record belongs to; None leaves it out."""

TRAINED_ON = ("nq", "hotpotqa")
DOMAINS = ("in domain", "out of domain", "all")


def trained_on(dataset: str) -> bool:
    """Return whether agents are usually trained on ``dataset``: on NQ or HotpotQA, as the paper."""
    return base_name(dataset) in TRAINED_ON


def base_name(dataset: str) -> str:
    """Return the name without options: ``hotpotqa`` of ``hotpotqa,sample=500``."""
    return dataset.partition(",")[0]


def hops(record: Record) -> str | None:
    """Return the number of hops of the question; None if it is not known."""
    number = record.metadata.get("hops")
    return None if number is None else str(number)


def noisy_searches(record: Record) -> str:
    """Return the number of searches that gave noisy documents: 0, 1, 2, or 3 or more."""
    number = sum(search.noisy and search.failure is None for search in record.searches)
    return str(number) if number < 3 else "3 or more"


BREAKDOWNS: dict[str, Breakdown] = {"hops": hops, "noisy searches": noisy_searches}


@dataclass(frozen=True)
class Row:
    """The numbers of one dataset with one engine, or of a part of them.

    Attributes:
        dataset: dataset.
        engine: engine.
        part: part of the breakdown; "" for all records.
        summary: the numbers.
    """

    dataset: str
    engine: str
    part: str
    summary: Summary


@dataclass(frozen=True)
class Macro:
    """Means over datasets, each of which counts once.

    Attributes:
        domain: one of `DOMAINS`.
        engine: engine.
        datasets: the datasets.
        scores: mean of each metric that scored a record of every dataset.
    """

    domain: str
    engine: str
    datasets: tuple[str, ...]
    scores: Mapping[str, Estimate]


@dataclass(frozen=True)
class Results:
    """Numbers of a run.

    Attributes:
        metrics: names of the metrics, in order.
        rows: the numbers of each dataset and engine.
        macros: means over datasets, for each engine that was asked about several.
        breakdowns: the numbers of parts, by name of the breakdown. One that gives a single part
            everywhere is left out.
    """

    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    macros: tuple[Macro, ...]
    breakdowns: Mapping[str, tuple[Row, ...]]


def results_of(
    records: Iterable[Record],
    *,
    prices: Prices | None = None,
    in_domain: InDomain = trained_on,
    breakdowns: Mapping[str, Breakdown] = BREAKDOWNS,
) -> Results:
    """Return the numbers of a run. The order of the records decides nothing.

    Args:
        records: records of the run.
        prices: prices, if costs are to be computed.
        in_domain: whether a dataset is in domain, as a function or by name.
        breakdowns: functions that give the part a record belongs to, by name.

    Raises:
        RecordError: two records have the same key, or a dataset is not in ``in_domain``.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    played = sorted(records, key=lambda record: record.key)
    check_keys(played)
    for record in played:
        groups.setdefault((record.dataset, record.engine), []).append(record)
    rows = tuple(Row(*group, "", summarise(own, prices)) for group, own in groups.items())
    parts = {
        name: tuple(
            Row(*group, part, summarise(some, prices))
            for group, own in groups.items()
            for part, some in _parts(own, part_of)
        )
        for name, part_of in breakdowns.items()
    }
    return Results(
        metrics=tuple(metric_names(record for record in played if not record.failed)),
        rows=rows,
        macros=tuple(_macros(rows, in_domain)),
        breakdowns={name: own for name, own in parts.items() if len({row.part for row in own}) > 1},
    )


def check_keys(records: Sequence[Record]) -> None:
    """Check that no two records have the same key.

    Raises:
        RecordError: two have.
    """
    seen = set()
    for record in records:
        if record.key in seen:
            raise RecordError(f"two records have the key {tuple(record.key)}; expected one.")
        seen.add(record.key)


def _parts(records: Sequence[Record], part_of: Breakdown) -> list[tuple[str, list[Record]]]:
    parts: dict[str, list[Record]] = {}
    for record in records:
        part = part_of(record)
        if part is not None:
            parts.setdefault(part, []).append(record)
    return sorted(parts.items(), key=lambda item: (len(item[0]), item[0]))  # 2 before 10


def _macros(rows: Sequence[Row], in_domain: InDomain) -> Iterable[Macro]:
    inside = {row.dataset: _is_inside(row.dataset, in_domain) for row in rows}
    for engine in sorted({row.engine for row in rows}):
        own = [row for row in rows if row.engine == engine]
        chosen = (
            [row for row in own if inside[row.dataset]],
            [row for row in own if not inside[row.dataset]],
            own,
        )
        for domain, some in zip(DOMAINS, chosen, strict=True):
            if some and len(own) > 1:
                datasets = tuple(row.dataset for row in some)
                yield Macro(domain, engine, datasets, _macro_scores(some))


def _macro_scores(rows: Sequence[Row]) -> dict[str, Estimate]:
    scores = [row.summary.scores for row in rows]
    shared = [name for name in scores[0] if all(name in own for own in scores)]
    return {name: macro_mean([own[name] for own in scores]) for name in shared}


def _is_inside(dataset: str, in_domain: InDomain) -> bool:
    if callable(in_domain):
        return in_domain(dataset)
    for name in (dataset, base_name(dataset)):
        if name in in_domain:
            return in_domain[name]
    raise RecordError(
        f"`in_domain` must say whether {dataset!r} is in domain, but only has "
        f"{', '.join(map(repr, in_domain)) or 'nothing'}."
    )
