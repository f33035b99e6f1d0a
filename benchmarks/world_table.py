"""Table and page of the benchmark world-v1: rows are added, checked and rendered here.

    python -m benchmarks.world_table add solver --method solver    # play, and add a row
    python -m benchmarks.world_table check solver careful          # play again: the same digits?
    python -m benchmarks.world_table page                          # write page and README anew
    python -m benchmarks.world_table hashes                        # print what must not change

The arguments after the name are those of ``zs-env evaluate --benchmark world-v1``, which stand
beside the row; ``--folder`` keeps the records, and does not. `ROWS` holds the rows; the page is
written from it, with examples that are played anew, and so is the table in the README.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zs_env.commands.main import main as zs_env
from zs_env.evaluation.benchmark_hashes import hashes_of
from zs_env.evaluation.benchmark_plans import plans_of
from zs_env.evaluation.benchmark_table import benchmark_table
from zs_env.evaluation.benchmarks import WORLD_V1, Chosen, Tier
from zs_env.evaluation.record import Record
from zs_env.evaluation.report import read_kept
from zs_env.evaluation.run import evaluate
from zs_env.evaluation.statistics import Estimate
from zs_env.evaluation.tables import Cell, Column, Table, as_json, as_markdown

DOCS = Path(__file__).parent.parent / "docs"
ROWS = DOCS / "world-v1.json"
PAGE = DOCS / "world-v1.md"
README = DOCS.parent / "README.md"
SHOWN = ("base policy", "PPO", "GRPO", "REINFORCE", "careful")
"""Agents of the table in the README."""

COMMAND = f"zs-env evaluate --benchmark {WORLD_V1.name}"

EXAMPLES = {
    "easy": ("solver", ["2-hop"]),
    "standard": ("solver", ["3-hop"]),
    "hard": ("careful", ["number comparison", "namesake", "history"]),
}
"""Method that plays the examples of a tier, and their kinds."""

Row = dict[str, Any]


def play(arguments: Sequence[str], folder: str | None = None) -> Row:
    """Evaluate, and return the row: the name is missing.

    Args:
        arguments: arguments of ``zs-env evaluate``.
        folder: folder of the records; None keeps none.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or temporary
        with contextlib.redirect_stdout(io.StringIO()):
            zs_env([*COMMAND.split()[1:], *arguments, "--folder", place])
        _, records = read_kept(Path(place))
    table = benchmark_table(WORLD_V1, {"": records})
    [[row]] = [each["rows"] for each in json.loads(as_json([table]))]
    return {**row, "command": shlex.join([*COMMAND.split(), *arguments])}


def read_rows() -> list[Row]:
    """Return the rows of the table."""
    rows: list[Row] = json.loads(ROWS.read_text()) if ROWS.exists() else []
    return rows


def add(name: str, arguments: Sequence[str], folder: str | None) -> None:
    """Play, and put the row at the end of the table, or in place of the one of that name."""
    row = {**play(arguments, folder), "agent": name}
    rows = read_rows()
    names = [each["agent"] for each in rows]
    if name in names:
        rows[names.index(name)] = row
    else:
        rows.append(row)
    ROWS.write_text(json.dumps(rows, indent=1) + "\n")


def check(names: Sequence[str]) -> None:
    """Play the rows of ``names`` again.

    Raises:
        SystemExit: one comes out otherwise.
    """
    for row in read_rows():
        if row["agent"] in names or not names:
            again = {**play(shlex.split(row["command"])[4:]), "agent": row["agent"]}
            if again != row:
                raise SystemExit(f"{row['command']}: the table has {row}, now it is {again}")
            print(f"{row['agent']}: the same")


def table_of(rows: Sequence[Row]) -> Table:
    """Return the table of ``rows``, with their commands."""
    columns = [*benchmark_table(WORLD_V1, {}).columns[:-1], Column("command")]
    return Table(
        WORLD_V1.name, columns, [[_cell(row[column.name]) for column in columns] for row in rows]
    )


def _cell(value: Any) -> Cell:
    if isinstance(value, dict):
        return Estimate(**value)
    cell: Cell = value
    return cell


def protocol() -> Table:
    """Return the tiers and what they fix."""
    columns = ["tier", "world", "kinds of questions", "engine", "noise", "turns"]
    return Table(
        "Tiers",
        [Column(name, 1) for name in columns],
        [
            [
                *(tier.name, tier.world_size, (tier.kinds or "all").replace("+", ", ")),
                *(tier.engine, tier.noise, tier.max_turns),
            ]
            for tier in WORLD_V1.tiers
        ],
    )


def examples(tier: Tier) -> str:
    """Return a question of each kind of `EXAMPLES` with what a scripted agent searches for."""
    method, kinds = EXAMPLES[tier.name]
    [plan] = plans_of(Chosen(WORLD_V1, (tier,)), method)
    home = replace(plan, questions=plan.questions[:1], benchmark=None)
    records = evaluate(home, show_progress=False)
    return "\n".join(_example(_shortest(records, kind, tier.noise > 0)) for kind in kinds)


def _shortest(records: Sequence[Record], kind: str, noisy: bool) -> Record:
    """Return the right answer to a question of ``kind`` with the fewest searches."""
    fitting = [
        record
        for record in records
        if record.metadata["kind"] == kind
        and record.scores["f1"] == 1.0
        and any(search.noisy for search in record.searches) == noisy
    ]
    return min(fitting, key=lambda record: len(record.searches))


def _example(record: Record) -> str:
    lines = [f"question ({record.metadata['kind']}): {record.question}"]
    for search in record.searches:
        lines.append(f"search{' (noisy)' if search.noisy else ''}: {search.query}")
        lines += [f"    {title}: {text}" if title else f"    {text}"
                  for title, text in search.documents]  # fmt: skip
    return "\n".join(["```text", *lines, f"answer: {record.answer}", "```", ""])


def rendered(page: str) -> str:
    """Return ``page`` with all that stands between its marks made anew."""
    parts = {
        "protocol": as_markdown([protocol()]),
        "table": as_markdown([table_of(read_rows())]),
        **{f"examples of {tier.name}": examples(tier) for tier in WORLD_V1.tiers},
    }
    for name, text in parts.items():
        page = _filled(page, name, f"\n{text}\n")
    return page


def _filled(page: str, name: str, text: str) -> str:
    """Return ``page`` with ``text`` between the marks of ``name``."""
    begin = f"<!-- {name} -->\n"
    end = f"<!-- end of {name.removeprefix('examples of ')} -->"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"expected {begin.strip()} and {end} in the page.")
    return f"{before}{begin}{text}{end}{after}"


def readme(page: str) -> str:
    """Return the README with its table made anew."""
    rows = {row["agent"]: row for row in read_rows()}
    columns = [*(tier.name for tier in WORLD_V1.tiers), "other worlds"]
    titles = [f"{each} (BM25)" if each == "standard" else each for each in columns]
    lines = [f"| greedy F1 on {WORLD_V1.name} | {' | '.join(titles)} |", "|---" * 5 + "|"]
    for name in SHOWN:
        if name in rows:
            means = [f"{rows[name][column]['mean']:.3f}" for column in columns]
            lines.append(f"| {name} | {' | '.join(means)} |")
    return _filled(page, "table", "\n".join(lines) + "\n")


def print_hashes() -> None:
    """Print the hashes as `zs_env.evaluation.benchmarks` holds them."""
    found = {
        tier.name: {seed: hashes_of(WORLD_V1, tier, seed) for seed in WORLD_V1.seeds}
        for tier in WORLD_V1.tiers
    }
    for name, hashes in found.items():
        print(f'    "{name}": {{')
        for seed, (questions, documents) in hashes.items():
            print(f'        {seed}: ("{questions}", "{documents}"),')
        print("    },")


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what ``arguments`` name; by default, those of the program."""
    parser = argparse.ArgumentParser(description="Table and page of world-v1.")
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="play, and add a row", prefix_chars="-")
    adding.add_argument("name", help="name of the agent in the table")
    adding.add_argument("--folder", help="folder that keeps the records")
    checking = commands.add_parser("check", help="play rows again")
    checking.add_argument("names", nargs="*", help="agents; default: all")
    commands.add_parser("page", help="write the page anew")
    commands.add_parser("hashes", help="print the hashes")
    options, others = parser.parse_known_args(arguments)
    if options.command == "add":
        add(options.name, others, options.folder)
    elif others:
        parser.error(f"unknown arguments: {' '.join(others)}")
    elif options.command == "check":
        check(options.names)
    elif options.command == "hashes":
        print_hashes()
    if options.command in ("add", "page"):
        PAGE.write_text(rendered(PAGE.read_text()))
        README.write_text(readme(README.read_text()))


if __name__ == "__main__":
    main()
