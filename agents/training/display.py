"""Display of a run in the terminal: lines of figures, and a bar with the time left."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from agents.training.metrics import TESTS, TIMING, Metrics

SHOWN = {
    "reward": "reward",
    "searches": "searches",
    "invalid_share": "invalid",
    "noise_probability": "noise",
    "entropy": "entropy",
    "kl": "KL",
}


class Display:
    """Display of a run, round by round.

    Args:
        folder: folder of the run.
        total: number of rounds.
        done: number of rounds done before.
    """

    def __init__(self, folder: Path, total: int, done: int) -> None:
        self._console = Console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(str(folder), total=total, completed=done)
        self._progress.start()

    def show(self, line: str, done: int) -> None:
        """Print a line about the last rounds, and advance the bar to ``done`` rounds."""
        self.say(line)
        self._progress.update(self._task, completed=done)

    def say(self, text: str) -> None:
        """Print a line of text."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar."""
        self._progress.stop()


def line_of(metrics: Metrics) -> str:
    """Return the line that is shown of an update."""
    cells = [f"{label} {metrics[name]:.3f}" for name, label in SHOWN.items() if name in metrics]
    cells += [
        f"test F1 {name.removeprefix(TESTS).removesuffix('/f1')} {value:.3f}"
        for name, value in metrics.items()
        if name.startswith(TESTS) and name.endswith("/f1")
    ]
    seconds = metrics.get(TIMING + "update")
    cells += [f"{seconds:.1f} s"] if seconds is not None else []
    return f"update {metrics['update']:>4.0f}  " + "  ".join(cells)
