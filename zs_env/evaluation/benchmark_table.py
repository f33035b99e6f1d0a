"""The tables of a benchmark: a row for each agent, and the details of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.errors import RecordError
from zs_env.evaluation.benchmarks import BENCHMARKS, Benchmark, Tier, find_benchmark
from zs_env.evaluation.record import Record
from zs_env.evaluation.scores import METRICS
from zs_env.evaluation.statistics import Estimate, macro_mean
from zs_env.evaluation.store import benchmark_of, check_benchmark
from zs_env.evaluation.summary import Prices, summarise
from zs_env.evaluation.tables import Cell, Column, Table

METRIC = "f1"
"""Metric of the tiers and of the other worlds."""

SHOWN = ("f1", "exact_match")
"""Metrics of a benchmark; others are shown if records were scored again."""


def benchmark_in(records: Sequence[Record]) -> Benchmark | None:
    """Return the benchmark that ``records`` are of; None if they are of none."""
    parts = {record.benchmark for record in records} - {None}
    return find_benchmark(min(map(str, parts))).benchmark if parts else None


def agent_of(asked: Mapping[str, Any]) -> str:
    """Return a name for what played a run: its method, and its model if it has one."""
    model = asked.get("model")
    if isinstance(model, Mapping):
        model = model.get("model", ",".join(f"{name}={value}" for name, value in model.items()))
    method = asked.get("method", "agent")
    return str(method) if model is None else f"{method}, {model}"


def check_kept(folder: Path, asked: Mapping[str, Any], records: Sequence[Record]) -> None:
    """Check that this version has the benchmark that a kept run is of, if it is of one.

    Raises:
        RecordError: it has not, or its questions or documents were others; or the run holds
            records of others.
    """
    check_benchmark(folder, asked, records)
    for part in benchmark_of(asked):
        if part is None:
            continue
        try:
            benchmark, [tier] = find_benchmark(part)
        except (ValueError, TypeError):
            raise RecordError(
                f"{folder} holds a run of {part}, which this version does not have: it has "
                f"{', '.join(BENCHMARKS)}. Judge it by the version that made it, or run it again."
            ) from None
        for place, what in enumerate(("questions", "documents")):
            known = {benchmark.questions(tier, s): tier.hashes[s][place] for s in benchmark.seeds}
            if asked["benchmark"][part].get(what) != known:
                raise RecordError(
                    f"{folder} holds a run of {part} with other {what} than this version has."
                )


def benchmark_table(benchmark: Benchmark, agents: Mapping[str, Sequence[Record]]) -> Table:
    """Return the table of ``benchmark``: F1 of each tier, and of other worlds; searches.

    What an agent does in other worlds is a mean over the tiers it played, each of which counts
    once, and so is its number of searches, which is that of the world in domain.

    Args:
        benchmark: benchmark.
        agents: records by name of the agent.
    """
    names = [tier.name for tier in benchmark.tiers]
    return Table(
        benchmark.name,
        [
            Column("agent"),
            *(Column(name, estimates=True, intervals=True) for name in [*names, "other worlds"]),
            Column("searches", 2),
            Column("failed"),
        ],
        [_row(benchmark, *agent) for agent in agents.items()],
    )


def detail_tables(
    benchmark: Benchmark, records: Sequence[Record], prices: Prices | None = None
) -> list[Table]:
    """Return the numbers of a run world by world, and those in domain by kind of question.

    Args:
        benchmark: benchmark.
        records: records of the run.
        prices: prices, to compute the cost.
    """
    worlds, kinds = {}, {}
    for tier in benchmark.tiers:
        for seed in benchmark.seeds:
            own = _played(benchmark, tier, [seed], records)
            worlds[tier.name, str(seed)] = own
            if seed == benchmark.seeds[0]:
                found = sorted({str(record.metadata.get("kind")) for record in own})
                for kind in found:
                    some = [record for record in own if str(record.metadata.get("kind")) == kind]
                    kinds[tier.name, kind] = some
    return [
        _details("By world", "world", worlds, prices),
        _details("By kind, in domain", "kind", kinds, prices),
    ]


def _details(
    title: str,
    part: str,
    groups: Mapping[tuple[str, str], Sequence[Record]],
    prices: Prices | None,
) -> Table:
    rows = {place: summarise(own, prices) for place, own in groups.items() if own}
    names = list(dict.fromkeys(name for own in rows.values() for name in own.scores))
    names = [name for name in names if name in SHOWN or name not in METRICS]
    return Table(
        title,
        [
            *(Column("tier"), Column(part), Column("questions"), Column("failed")),
            *(Column(name, estimates=True) for name in names),
            Column("searches", 2, estimates=True),
            *([Column("cost", 2)] if prices else []),
        ],
        [
            [
                *(*place, own.questions, own.failures),
                *map(own.scores.get, names),
                own.usage.get("searches"),
                *([own.cost] if prices else []),
            ]
            for place, own in rows.items()
        ],
    )


def _row(benchmark: Benchmark, agent: str, records: Sequence[Record]) -> list[Cell]:
    home, *others = benchmark.seeds
    inside = [summarise(_played(benchmark, tier, [home], records)) for tier in benchmark.tiers]
    outside = [summarise(_played(benchmark, tier, others, records)) for tier in benchmark.tiers]
    searches = _mean([own.usage["searches"] for own in inside if own.usage])
    return [
        agent,
        *(own.scores.get(METRIC) for own in inside),
        _mean([own.scores[METRIC] for own in outside if METRIC in own.scores]),
        None if searches is None else searches.mean,
        sum(record.failed for record in records),
    ]


def _played(
    benchmark: Benchmark, tier: Tier, seeds: Sequence[int], records: Sequence[Record]
) -> list[Record]:
    """Return the records of ``tier`` in the worlds of ``seeds``."""
    part = benchmark.part(tier)
    datasets = {benchmark.questions(tier, seed) for seed in seeds}
    return [record for record in records if record.benchmark == part and record.dataset in datasets]


def _mean(estimates: Sequence[Estimate]) -> Estimate | None:
    return macro_mean(estimates) if estimates else None
