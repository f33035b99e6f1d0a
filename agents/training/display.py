"""Display of a run in the terminal: a line for each update, and a bar with the time left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from agents.training.config import Config
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
    """Display of metrics, update by update.

    Args:
        config: options of the run.
        updates_done: number of updates done before.
    """

    def __init__(self, config: Config, updates_done: int) -> None:
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
        self._task = self._progress.add_task(
            str(config.folder), total=config.updates, completed=updates_done
        )
        self._progress.start()

    def show(self, metrics: Metrics) -> None:
        """Print a line of metrics, and advance the bar."""
        cells = [f"{label} {metrics[name]:.3f}" for name, label in SHOWN.items() if name in metrics]
        cells += [
            f"test F1 {name.removeprefix(TESTS).removesuffix('/f1')} {value:.3f}"
            for name, value in metrics.items()
            if name.startswith(TESTS) and name.endswith("/f1")
        ]
        seconds = metrics.get(TIMING + "update")
        cells += [f"{seconds:.1f} s"] if seconds is not None else []
        self.say(f"update {metrics['update']:>4.0f}  " + "  ".join(cells))
        self._progress.update(self._task, completed=metrics["update"])

    def say(self, text: str) -> None:
        """Print a line of text."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the bar."""
        self._progress.stop()
