"""Progress of asking and judging, on a terminal or as lines, with the time that is left."""

from __future__ import annotations

from typing import TextIO

from zs_env.evaluation.progress import ProgressBar


class AskingProgress(ProgressBar):
    """Progress of asking several engines, one after the other.

    Args:
        total: number of searches of all engines, and of verdicts of a judge that costs something.
        output: where to print; by default the standard error.
    """

    def __init__(self, total: int, output: TextIO | None = None) -> None:
        super().__init__(total, output=output)
        self._failed = 0
        self._name = ""

    def __call__(self, name: str, answered: int, failed: int) -> None:
        """Count searches of the engine ``name``; the first call for an engine counts kept ones."""
        if name != self._name:
            self._name = name
            self._num_kept += answered
        self._done += answered + failed
        self._failed += failed
        self.show()

    def line(self) -> str:
        """Return the state as a line."""
        return f"{self._bar()} steps  {self._name}  failed {self._failed}  {self._pace()}"
