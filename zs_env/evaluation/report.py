"""Results of a run as files beside its records, and as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.evaluation.alike import Run
from zs_env.evaluation.benchmark_table import (
    benchmark_in,
    benchmark_table,
    check_kept,
    detail_tables,
)
from zs_env.evaluation.layout import tables_of
from zs_env.evaluation.record import Record
from zs_env.evaluation.results import Results, base_name, results_of, trained_on
from zs_env.evaluation.store import benchmark_of, read_records, read_run
from zs_env.evaluation.summary import Prices
from zs_env.evaluation.tables import FORMATS, Table, as_text
from zs_env.loading import parse_spec

FILES = {"markdown": "results.md", "csv": "results.csv", "json": "results.json"}
"""Files of results by name of their format."""

ASKED = ("questions", "engines", "repeats", "seed", "benchmark")
"""Parts of a run that must be the same in runs that are compared, and …"""

ASKED_OPTIONS = ("max_turns", "top_k", "document_words", "noise")
"""… options of playing."""


def results_with(
    records: Iterable[Record],
    prices: Prices | None = None,
    in_domain: Sequence[str] | None = None,
) -> Results:
    """Return the numbers of ``records``.

    Args:
        records: records of a run.
        prices: prices, to compute the cost.
        in_domain: names of the sets of questions that the agent was trained on; by default NQ and
            HotpotQA, and the embedded world of seed 0.
    """
    if in_domain is None:
        return results_of(records, prices=prices, in_domain=usually_in_domain)
    names = set(in_domain)
    return results_of(
        records,
        prices=prices,
        in_domain=lambda dataset: dataset in names or base_name(dataset) in names,
    )


def usually_in_domain(dataset: str) -> bool:
    """Return whether agents are usually trained on ``dataset``."""
    if base_name(dataset) != "world":
        return trained_on(dataset)
    return bool(parse_spec("questions", dataset).options.get("world_seed", 0) == 0)


def tables_with(
    agent: str,
    records: Sequence[Record],
    prices: Prices | None = None,
    in_domain: Sequence[str] | None = None,
) -> list[Table]:
    """Return the tables of ``records``: those of their benchmark, if they are of one.

    Args:
        agent: name of what played, for the table of a benchmark.
        records: records of a run.
        prices: as for `results_with`.
        in_domain: as for `results_with`.

    Raises:
        ValueError: ``in_domain`` is given for a benchmark, which fixes it.
    """
    benchmark = benchmark_in(records)
    if benchmark is None:
        return tables_of(results_with(records, prices, in_domain))
    if in_domain is not None:
        raise ValueError(f"the benchmark {benchmark.name!r} fixes what is in domain.")
    table = benchmark_table(benchmark, {agent: records})
    return [table, *detail_tables(benchmark, records, prices)]


def write_tables(folder: Path, tables: Sequence[Table]) -> str:
    """Write ``tables`` to the `FILES` of ``folder``; return them as text."""
    for name, file in FILES.items():
        (folder / file).write_text(FORMATS[name](tables), encoding="utf-8")
    return as_text(tables)


def read_kept(folder: Path) -> tuple[dict[str, Any], list[Record]]:
    """Return what was asked in the run of ``folder``, and its records.

    Raises:
        RecordError: it is no folder of a run, its records are damaged, or they are of a benchmark
            that this version does not have.
    """
    records = read_records(folder)
    asked = read_run(folder)
    check_kept(folder, asked, records)
    return asked, records


def read_for_comparison(folder: Path) -> Run:
    """Return the run of ``folder`` for `zs_env.evaluation.compare.compare`.

    Raises:
        RecordError: as for `read_kept`.
    """
    run, records = read_kept(folder)
    options: Mapping[str, Any] = run.get("options") or {}
    asked = {name: run.get(name) for name in ASKED} | {n: options.get(n) for n in ASKED_OPTIONS}
    if run.get("benchmark"):  # it fixes all of these
        asked["benchmark"] = benchmark_of(run)
    return Run(str(folder), records, asked)
