"""Reading the files that users bring."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zs_env.errors import ZeroSearchError


def read_jsonl(path: Path, error: type[ZeroSearchError]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON-lines file, each with its place, ``file:line``. Skips blank lines.

    Args:
        path: the file.
        error: what to raise, with file and line, for a line that is not UTF-8, not JSON or not
            an object.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError) as reason:
                raise error(f"{place}: not a line of JSON: {reason}.") from None
            if not isinstance(row, dict):
                raise error(f"{place}: expected a JSON object, got {line[:40]!r}.")
            yield place, row
