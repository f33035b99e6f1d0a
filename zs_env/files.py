"""Reading the files that users bring, and replacing those that programs keep."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zs_env.errors import ZeroSearchError


def check_file(path: Path, error: type[ZeroSearchError]) -> None:
    """Refuse a path where there is no file.

    Args:
        path: where it should be.
        error: what to raise if there is none, or a folder.
    """
    if path.is_dir():
        raise error(f"{path}: expected a file, got a folder.")
    if not path.is_file():
        raise error(f"{path}: there is no such file.")


def read_jsonl(path: Path, error: type[ZeroSearchError]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a JSON-lines file, each with its place, ``file:line``; skip blank lines.

    Args:
        path: the file.
        error: what to raise, with file and line, for a line that is not UTF-8, not JSON or not
            an object.
    """
    for number, _, line in filled_lines(path):
        place = f"{path}:{number}"
        yield place, parse_line(place, line, error)


def filled_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Yield the lines that are not blank: number, from 1; byte of the start; content."""
    start = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, start, line
            start += len(line)


def parse_line(place: str, line: bytes, error: type[ZeroSearchError]) -> dict[str, Any]:
    """Return the JSON object in ``line``.

    Args:
        place: where the line stands, for the message.
        line: one line of a file.
        error: what to raise if it is not UTF-8, not JSON or not an object.
    """
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as reason:
        raise error(f"{place}: not a line of JSON: {reason}.") from None
    if not isinstance(fields, dict):
        raise error(f"{place}: expected a JSON object, got {line[:40]!r}.")
    return fields


def replace_file(path: Path, content: bytes) -> None:
    """Replace ``path`` at once: a reader finds the old content or the new.

    Args:
        path: file; its folder must exist.
        content: new content.
    """
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
