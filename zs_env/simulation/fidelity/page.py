"""The report of fidelity: tables as Markdown or text, and files in a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zs_env.evaluation.tables import Column as TableColumn
from zs_env.evaluation.tables import Table, as_markdown
from zs_env.files import replace_file
from zs_env.simulation.fidelity.definitions import FIGURES, KINDS
from zs_env.simulation.fidelity.measure import DEEPER, PROGRAM, Fidelity, Measured

JSON, MARKDOWN, PICTURE = "fidelity.json", "fidelity.md", "fidelity.png"


def tables_of(fidelity: Fidelity) -> list[Table]:
    """Return a table a section, a row a figure, a column for each that has one of them."""
    sections = dict.fromkeys(each.section for each in FIGURES.values())
    tables = [_table(section, fidelity.columns) for section in sections]
    return [table for table in tables if table.rows]


def as_page(fidelity: Fidelity, picture: str | None = None) -> str:
    """Return the report as Markdown.

    Args:
        fidelity: what was measured.
        picture: file of the picture, beside the page; None for none.
    """
    lines = ["# Fidelity", "", _summary(fidelity), ""]
    lines += [f"- {column.gave_up}" for column in fidelity.columns if column.gave_up]
    if picture is not None:
        lines += [f"![Fidelity of simulators]({picture})", ""]
    lines += [as_markdown(tables_of(fidelity))]
    used = {name for column in fidelity.columns for name in column.figures}
    lines += ["**What the figures are**", ""]
    lines += [
        f"- {each.section}, *{each.label}*: {each.text}"
        for name, each in FIGURES.items()
        if name in used
    ]
    return "\n".join(lines) + "\n"


def write_report(folder: Path, fidelity: Fidelity, picture: str | None = None) -> list[Path]:
    """Write the report as Markdown and JSON into ``folder``, and return the files."""
    paths = [folder / MARKDOWN, folder / JSON]
    contents = [as_page(fidelity, picture), json.dumps(fidelity.as_json(), indent=1) + "\n"]
    for path, content in zip(paths, contents, strict=True):
        replace_file(path, content.encode())
    return paths


def rows_of(fidelity: Fidelity) -> list[dict[str, Any]]:
    """Return the columns as objects of JSON, as `zs_env.report.fidelity` draws them."""
    return [column.as_json() for column in fidelity.columns]


def _summary(fidelity: Fidelity) -> str:
    about = fidelity.about
    queries, asking = about["queries"], about["asking"]
    hops = ", ".join(f"{count} {hop}" for hop, count in queries["hops"].items())
    unseen = f", {queries['unseen']} about unseen entities" if queries["unseen"] else ""
    counts = "; ".join(
        f"{column.name}: {column.asked - column.failed:,} of {column.asked:,}"
        for column in fidelity.columns
    )
    return (
        f"{queries['asked']:,} queries of {queries['in_source']:,} (hop: {hops}{unseen}), "
        f"{asking['top_k']} documents of {asking['document_words']} words, seed {asking['seed']}, "
        f"judge `{about['judge']}`. 95 % intervals in parentheses. Searches answered: {counts}; "
        "the others failed, and count in no figure."
    )


def _table(section: str, columns: Sequence[Measured]) -> Table:
    names = [name for name, each in FIGURES.items() if each.section == section]
    shown = [
        column
        for column in columns
        if any(column.figures.get(name) is not None for name in names)
        and (section == KINDS or column.role not in (PROGRAM, DEEPER))
    ]
    rows = []
    for name in names:
        cells = [_cell(column, name) for column in shown]
        if any(cell is not None for cell in cells):
            rows.append([FIGURES[name].label, *cells])
    headings = [TableColumn("figure"), *(TableColumn(column.name) for column in shown)]
    return Table(section, headings, rows)


def _cell(column: Measured, name: str) -> str | None:
    figure = column.figures.get(name)
    return None if figure is None else figure.shown(FIGURES[name].decimals)
