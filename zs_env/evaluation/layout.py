"""What stands in the tables of results and comparisons, in every format."""

from __future__ import annotations

from collections.abc import Sequence

from zs_env.evaluation.compare import Comparison, Difference
from zs_env.evaluation.results import Results, Row
from zs_env.evaluation.statistics import Estimate
from zs_env.evaluation.summary import Summary
from zs_env.evaluation.tables import Cell, Column, Table

_DECIMALS = {"prompt_tokens": 0, "completion_tokens": 0, "searches": 2, "turns": 2}
_NOTHING: list[Cell] = [None] * 9  # in place of the numbers of a comparison
_WHERE = (Column("dataset"), Column("engine"))


def tables_of(results: Results) -> list[Table]:
    """Return the tables of results: scores, usage, repeats, macro means, breakdowns.

    A table without rows is left out.
    """
    tables = [
        _score_table(results),
        _macros(results),
        _usage(results),
        _repeats(results),
        *(_breakdown(results, name) for name in results.breakdowns),
    ]
    return [table for table in tables if table.rows]


def tables_of_comparison(comparison: Comparison) -> list[Table]:
    """Return the tables of a comparison: one for each metric."""
    columns = [
        *_WHERE,
        *(Column("run"), Column("questions"), Column("left out")),
        *(Column("mean"), Column("first mean"), Column("difference", estimates=True)),
        *(Column("low"), Column("high"), Column("p", 4), Column("p (Holm)", 4), Column("test")),
        Column("questions needed"),
    ]
    rows = [(found.metric, _difference(found)) for found in comparison.differences]
    return [
        Table(
            f"{metric}: against {comparison.runs[0]}",
            columns,
            [row for name, row in rows if name == metric],
        )
        for metric in comparison.metrics
    ]


def _score_table(results: Results) -> Table:
    counts = [Column("questions"), Column("repeats"), Column("failed"), Column("failed share")]
    scores = [Column(name, estimates=True) for name in results.metrics]
    partial = [n for n in results.metrics if any(n in row.summary.unscored for row in results.rows)]
    unscored = [Column(f"{name} unscored") for name in partial]
    return Table(
        "Scores",
        [*_WHERE, *counts, *scores, *unscored],
        [
            [
                *(*_place(row), *_counts(row.summary), *_scores(results, row)),
                *(row.summary.unscored.get(name, 0) for name in partial),
            ]
            for row in results.rows
        ],
    )


def _place(row: Row) -> tuple[str, str]:
    return row.dataset, row.engine


def _counts(summary: Summary) -> Sequence[Cell]:
    return summary.questions, summary.repeats, summary.failures, summary.failed_share


def _scores(results: Results, row: Row) -> list[Cell]:
    return [row.summary.scores.get(name) for name in results.metrics]


def _macros(results: Results) -> Table:
    scores = [Column(name, estimates=True) for name in results.metrics]
    return Table(
        "Means over datasets",
        [Column("domain"), Column("engine"), Column("datasets"), *scores],
        [
            [
                macro.domain,
                macro.engine,
                len(macro.datasets),
                *map(macro.scores.get, results.metrics),
            ]
            for macro in results.macros
        ],
    )


def _usage(results: Results) -> Table:
    names = list(dict.fromkeys(name for row in results.rows for name in row.summary.usage))
    figures = [Column(name, _DECIMALS.get(name, 3), estimates=True) for name in names]
    costs = any(row.summary.cost is not None for row in results.rows)
    return Table(
        "Usage of an episode",
        [*_WHERE, *figures, Column("invalid turns"), *([Column("cost", 2)] if costs else [])],
        [
            [
                *(*_place(row), *map(row.summary.usage.get, names), row.summary.invalid_turns),
                *([row.summary.cost] if costs else []),
            ]
            for row in results.rows
        ],
    )


def _repeats(results: Results) -> Table:
    def rates(summary: Summary) -> dict[str, Estimate]:
        passed = {f"pass@{k}": rate for k, rate in summary.pass_at.items()}
        return passed | {f"majority@{k}": rate for k, rate in summary.majority_at.items()}

    names = list(dict.fromkeys(name for row in results.rows for name in rates(row.summary)))
    rows = [
        [*_place(row), *map(rates(row.summary).get, names)]
        for row in results.rows
        if rates(row.summary)
    ]
    return Table("Repeats", [*_WHERE, *(Column(name, estimates=True) for name in names)], rows)


def _breakdown(results: Results, name: str) -> Table:
    scores = [Column(metric, estimates=True) for metric in results.metrics]
    return Table(
        f"By {name}",
        [*_WHERE, Column(name), Column("questions"), Column("failed"), *scores],
        [
            [
                *(*_place(row), row.part, row.summary.questions, row.summary.failures),
                *_scores(results, row),
            ]
            for row in results.breakdowns[name]
        ],
    )


def _difference(found: Difference) -> list[Cell]:
    place: list[Cell] = [found.dataset, found.engine, found.second]
    paired = found.paired
    left_out = found.failed + found.unscored
    if paired is None:
        return [*place, 0, left_out, *_NOTHING]
    low, high = paired.interval or (None, None)
    return [
        *(*place, paired.difference.questions, left_out),
        *(paired.second_mean, paired.first_mean, paired.difference, low, high),
        *(paired.p_value, found.p_holm, paired.test, paired.questions_needed),
    ]
