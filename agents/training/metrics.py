"""Metrics of a run: a line of JSON for each update, and TensorBoard files."""

from __future__ import annotations

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from agents.training.errors import CheckpointError
from zs_env.files import filled_lines, parse_line, replace_file

Metrics = dict[str, float]
"""Figures of a run by name; ``update`` (or ``step``) is the number of updates (steps) done."""

TIMING = "time/"
"""Prefix of the names of times in seconds, which differ between otherwise equal runs."""

TESTS = "test/"
"""Prefix of the names of figures of an evaluation."""

FILE_NAME = "metrics.jsonl"


class MetricsLog:
    """Log of metrics in ``folder/metrics.jsonl`` and in TensorBoard files.

    Args:
        folder: folder of the run.
        updates_done: number of updates whose metrics in the file are kept; later ones are dropped.
            None drops all.
        counter: name of the number of updates in metrics.

    Raises:
        CheckpointError: the existing file is damaged.

    Attributes:
        written: metrics in the file, in order.
    """

    def __init__(
        self, folder: Path, updates_done: int | None = None, counter: str = "update"
    ) -> None:
        self._counter = counter
        self._path = folder / FILE_NAME
        self.written: list[Metrics] = []
        if updates_done is not None:
            kept = read_metrics(folder, counter)
            self.written = [metrics for metrics in kept if metrics[counter] <= updates_done]
        lines = "".join(json.dumps(metrics) + "\n" for metrics in self.written)
        replace_file(self._path, lines.encode())
        first = 0 if updates_done is None else updates_done + 1
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first)

    def write(self, metrics: Metrics) -> None:
        """Append ``metrics``, which must hold the counter."""
        self.written.append(metrics)
        with self._path.open("a") as file:
            file.write(json.dumps(metrics) + "\n")
        for name, value in metrics.items():
            if name != self._counter:
                self._board.add_scalar(name, value, int(metrics[self._counter]))
        self._board.flush()

    def close(self) -> None:
        """Close the TensorBoard file."""
        self._board.close()


def read_metrics(folder: Path, counter: str = "update") -> list[Metrics]:
    """Return the metrics in ``folder/metrics.jsonl``, in order; none if there is no such file.

    An incomplete last line, as a killed process leaves it, is left out.

    Raises:
        CheckpointError: another line does not hold metrics; the message says which.
    """
    path = folder / FILE_NAME
    metrics: list[Metrics] = []
    for number, _, line in filled_lines(path) if path.is_file() else ():
        place = f"{path}:{number}"
        try:
            figures = parse_line(place, line, CheckpointError)
            if not isinstance(figures.get(counter), int | float):
                raise CheckpointError(
                    f"{place}: expected figures with `{counter}`, got {line[:40]!r}."
                )
        except CheckpointError as error:
            if not line.endswith(b"\n"):
                break
            raise CheckpointError(f"{error} Mend the line, or delete it.") from None
        metrics.append(figures)
    return metrics


def without_clocks(metrics: Metrics) -> Metrics:
    """Return ``metrics`` without times, which differ between equal runs."""
    return {name: value for name, value in metrics.items() if not name.startswith(TIMING)}


def evaluation_prefix(engine: str, decoding: str) -> str:
    """Return what the names of figures of an evaluation begin with: ``test/world/``.

    Args:
        engine: search engine, as it was named.
        decoding: way of playing; what is not ``greedy`` stands in the name:
            ``test/world/sampled/``.
    """
    return f"{TESTS}{engine}/" + ("" if decoding == "greedy" else f"{decoding}/")
