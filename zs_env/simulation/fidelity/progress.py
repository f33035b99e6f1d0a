"""Progress of asking and judging, on a terminal or as lines, with the time that is left."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from zs_env.evaluation.progress import BAR, LINE_S, REDRAW_S


class AskingProgress:
    """Progress bar, redrawn in place on a terminal, and otherwise printed now and then.

    Args:
        total: number of searches of all engines, and of verdicts of a judge that costs something.
        output: where to print; by default the standard error.
    """

    def __init__(self, total: int, output: TextIO | None = None) -> None:
        self._output = output or sys.stderr
        self._live = self._output.isatty()
        self._total = total
        self._done = self._kept = self._failed = self._width = 0
        self._name = ""
        self._began = self._shown = time.monotonic()

    def __call__(self, name: str, answered: int, failed: int) -> None:
        """Count searches of the engine ``name``; the first call for an engine counts kept ones."""
        if name != self._name:
            self._name = name
            self._kept += answered
        self._done += answered + failed
        self._failed += failed
        now = time.monotonic()
        if now - self._shown >= (REDRAW_S if self._live else LINE_S):
            self._shown = now
            self._print()

    def close(self) -> None:
        """Show the last state, if anything was asked."""
        if self._done > self._kept:
            self._print()
            if self._live:
                print(file=self._output)

    def line(self) -> str:
        """Return the state as a line."""
        filled = BAR * self._done // max(self._total, 1)
        rate = (self._done - self._kept) / max(time.monotonic() - self._began, 1e-9)
        left_s = (self._total - self._done) / rate if rate else 0.0
        minutes, seconds = divmod(int(left_s), 60)
        hours, minutes = divmod(minutes, 60)
        clock = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        return (
            f"[{'#' * filled}{'.' * (BAR - filled)}] {self._done:,}/{self._total:,} steps  "
            f"{self._name}  failed {self._failed}  {rate:.1f}/s  {clock} left"
        )

    def _print(self) -> None:
        line = self.line()
        if self._live:
            # Blanks cover what is left of a longer line.
            print(f"\r{line:<{self._width}}", end="", file=self._output, flush=True)
            self._width = len(line)
        else:
            print(line, file=self._output, flush=True)
