"""The figures of a run: a line of JSON an update, and TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from zs_env.tokens.trajectory import Trajectory

Row = dict[str, float]

TIMING = "time/"
"""Figures that begin so are clock readings, which no two runs share."""


class MetricsLog:
    """Appends rows to ``folder/metrics.jsonl`` and to TensorBoard's files.

    Args:
        folder: of the run.
        updates_done: rows of later updates are dropped: a resumed run writes them again.
    """

    def __init__(self, folder: Path, updates_done: int = -1) -> None:
        self._path = folder / "metrics.jsonl"
        self.rows = [row for row in read_metrics(folder) if row["update"] <= updates_done]
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        self._path.write_text(text)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=updates_done + 1)

    def write(self, row: Row) -> None:
        """Append a row; ``row["update"]`` says how many updates were done."""
        self.rows.append(row)
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in row.items():
            if name != "update":
                self._board.add_scalar(name, value, int(row["update"]))
        self._board.flush()

    def close(self) -> None:
        """Close TensorBoard's file."""
        self._board.close()


def read_metrics(folder: Path) -> list[Row]:
    """The rows in ``folder/metrics.jsonl``; a line that was cut short is left out."""
    path = folder / "metrics.jsonl"
    rows: list[Row] = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def record_of(trajectory: Trajectory) -> Row:
    """The figures of one episode."""
    searches = trajectory.searches
    info = trajectory.info
    return {
        "reward": trajectory.reward,
        "f1": info["f1"],
        "exact_match": info["exact_match"],
        "turns": float(trajectory.num_turns),
        "searches": float(len(searches)),
        "noisy": float(sum(search.noisy for search in searches)),
        "invalid": float(info["num_invalid"]),
        "response_length": float(trajectory.response_length),
        "length": float(len(trajectory)),
        "answered": float(trajectory.termination.value == "answered"),
        "search_failed": float(trajectory.search_failed),
        "context_exceeded": float(info["context_exceeded"]),
    }


def summarise(records: Sequence[Row]) -> Row:
    """Means over episodes; shares are of turns or of searches."""

    def total(name: str) -> float:
        return float(np.sum([record[name] for record in records]))

    count = max(len(records), 1)
    means = {
        name: total(name) / count
        for name in (
            "reward", "f1", "exact_match", "turns", "searches", "response_length", "length",
            "answered",
        )
    }  # fmt: skip
    return {
        **means,
        "invalid_share": total("invalid") / max(total("turns"), 1.0),
        "noisy_share": total("noisy") / max(total("searches"), 1.0),
        "failed_searches": total("search_failed"),
        "context_exceeded": total("context_exceeded") / count,
    }


def without_clocks(row: dict[str, Any]) -> dict[str, Any]:
    """``row`` without what differs between equal runs."""
    return {name: value for name, value in row.items() if not name.startswith(TIMING)}
