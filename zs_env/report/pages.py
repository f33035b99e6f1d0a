"""Markdown pages that a run writes into its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.hidden import without_secrets


def write_page(
    folder: Path,
    lines: Sequence[str],
    pictures: Sequence[Path | None],
    options: Mapping[str, Any],
) -> Path:
    """Write ``folder/report.md`` and return its path.

    Args:
        folder: folder of the run, whose name becomes the title.
        lines: lines of Markdown below the title.
        pictures: pictures in ``folder``; None is skipped.
        options: options of the run, shown as JSON without secrets.
    """
    page = folder / "report.md"
    page.write_text(
        "\n".join(
            [
                f"# {folder.name}",
                "",
                *lines,
                "",
                *(f"![{picture.stem}]({picture.name})" for picture in pictures if picture),
                "",
                "## Options",
                "",
                "```json",
                json.dumps(without_secrets(options), indent=1),
                "```",
                "",
            ]
        )
    )
    return page
