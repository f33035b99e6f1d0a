"""Tables as terminal text, Markdown, CSV and JSON, from one form.

Names of datasets and engines are untrusted text: no character of theirs can break a table.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from zs_env.evaluation.statistics import Estimate

Cell = str | int | float | Estimate | None

NO_VALUE = "-"
_MARKDOWN = re.compile(r"[\\|`*\[\]~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_FORMULA = ("=", "+", "-", "@")


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: heading.
        decimals: decimals of its numbers, in text and Markdown.
        estimates: whether its cells are estimates, to which CSV gives two columns.
        intervals: whether text and Markdown show their 95 % intervals, not their standard errors.
    """

    name: str
    decimals: int = 3
    estimates: bool = False
    intervals: bool = False


class Table(NamedTuple):
    """A table, before it is written.

    Attributes:
        title: title.
        columns: the columns.
        rows: a cell for each column; None where there is no value.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def as_text(tables: Sequence[Table]) -> str:
    """Return the tables as aligned text for a terminal."""
    return "\n".join(_text_of(table) for table in tables)


def as_markdown(tables: Sequence[Table]) -> str:
    """Return the tables as Markdown, each below a bold title."""
    return "\n".join(_markdown_of(table) for table in tables)


def as_csv(tables: Sequence[Table]) -> str:
    """Return the tables as CSV, with numbers in full and standard errors in columns of their own.

    The title is the first cell of each row. A text that a spreadsheet would take for a formula gets
    an apostrophe in front.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    for table in tables:
        writer.writerow(["table", *_csv_headings(table)])
        for row in table.rows:
            pairs = zip(table.columns, row, strict=True)
            writer.writerow([_csv_text(table.title), *(c for pair in pairs for c in _csv(*pair))])
    return output.getvalue()


def as_json(tables: Sequence[Table]) -> str:
    """Return the tables as JSON: lists of objects, with numbers in full."""
    objects = [
        {
            "title": table.title,
            "rows": [
                {c.name: _json_of(cell) for c, cell in zip(table.columns, row, strict=True)}
                for row in table.rows
            ],
        }
        for table in tables
    ]
    return json.dumps(objects, indent=1, allow_nan=False) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Table]], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
}
"""Functions that write tables, by name of the format."""


def printable(text: str, kept: str = "") -> str:
    """Return ``text`` with an escape in place of each character that has no visible form.

    Args:
        text: untrusted text.
        kept: characters that stay, such as line breaks.
    """
    return "".join(
        letter if letter.isprintable() or letter in kept else _escape(letter) for letter in text
    )


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def _cell(cell: Cell, column: Column) -> str:
    if cell is None:
        return NO_VALUE
    if isinstance(cell, str):
        return printable(cell)
    if isinstance(cell, Estimate):
        error, interval = cell.standard_error, cell.interval
        shown = f"{cell.mean:.{column.decimals}f}"
        if error is None or interval is None:
            return shown
        if column.intervals:
            low, high = interval
            return f"{shown} ({low:.{column.decimals}f} – {high:.{column.decimals}f})"
        return f"{shown} ± {error:.{column.decimals}f}"
    return str(cell) if isinstance(cell, int) else f"{cell:.{column.decimals}f}"


def _cells(table: Table) -> list[list[str]]:
    headings = [printable(column.name) for column in table.columns]
    rows = [[_cell(*pair) for pair in zip(row, table.columns, strict=True)] for row in table.rows]
    return [headings, *rows]


def _is_text(table: Table, index: int) -> bool:
    return any(isinstance(row[index], str) for row in table.rows)


def _text_of(table: Table) -> str:
    lines = _cells(table)
    indices = range(len(table.columns))
    widths = [max(_width(line[index]) for line in lines) for index in indices]
    lines.insert(1, ["-" * width for width in widths])
    left = [_is_text(table, index) for index in indices]
    text = [
        "  ".join(map(_padded, line, widths, left)).rstrip()
        for line in lines
    ]  # fmt: skip
    return "\n".join([printable(table.title), *text]) + "\n"


def _padded(cell: str, width: int, left: bool) -> str:
    space = " " * (width - _width(cell))
    return cell + space if left else space + cell


def _width(text: str) -> int:
    """Return the columns that ``text`` takes in a terminal: two for East Asian wide letters."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def _markdown_of(table: Table) -> str:
    lines = [list(map(_escaped, line)) for line in _cells(table)]
    indices = range(len(table.columns))
    lines.insert(1, ["---" if _is_text(table, index) else "---:" for index in indices])
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([f"**{_escaped(printable(table.title))}**", "", *rows]) + "\n"


def _escaped(text: str) -> str:
    escaped = _MARKDOWN.sub(lambda match: "\\" + match[0], text)
    return "".join(_HTML.get(letter, letter) for letter in escaped)


def _csv_headings(table: Table) -> list[str]:
    return [
        heading
        for column in table.columns
        for heading in (
            [column.name, f"{column.name} standard error"] if column.estimates else [column.name]
        )
    ]


def _csv(column: Column, cell: Cell) -> list[str | int | float | None]:
    if isinstance(cell, Estimate):
        return [cell.mean, cell.standard_error]
    if column.estimates:
        return [None, None]
    return [_csv_text(cell) if isinstance(cell, str) else cell]


def _csv_text(text: str) -> str:
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def _json_of(cell: Cell) -> Any:
    return cell._asdict() if isinstance(cell, Estimate) else cell
