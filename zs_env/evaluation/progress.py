"""Progress of a run on a terminal: running scores, failures, and the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO

from zs_env.evaluation.record import Record
from zs_env.evaluation.summary import Prices

BAR = 24
LINE_S = 15.0
"""Seconds between lines where the output is no terminal."""

REDRAW_S = 0.2


class ProgressBar:
    """Progress bar, redrawn in place on a terminal, and otherwise printed now and then.

    Write `line`, and call `show` when something is done.

    Args:
        total: number of things to do.
        num_kept: number of those that were done before, and take no time.
        output: where to print; by default the standard error.
    """

    def __init__(self, total: int, num_kept: int = 0, output: TextIO | None = None) -> None:
        self._output = output or sys.stderr
        self._live = self._output.isatty()
        self._total = total
        self._num_kept = self._done = num_kept
        self._began = self._shown = time.monotonic()
        self._width = 0

    def line(self) -> str:
        """Return the state as a line."""
        raise NotImplementedError

    def show(self) -> None:
        """Show the state, if it is time."""
        now = time.monotonic()
        if now - self._shown >= (REDRAW_S if self._live else LINE_S):
            self._shown = now
            self._print()

    def close(self) -> None:
        """Show the last state, if anything was done."""
        if self._done > self._num_kept:
            self._print()
            if self._live:
                print(file=self._output)

    def _bar(self) -> str:
        """Return the bar and the numbers."""
        filled = BAR * self._done // max(self._total, 1)
        return f"[{'#' * filled}{'.' * (BAR - filled)}] {self._done:,}/{self._total:,}"

    def _pace(self) -> str:
        """Return the rate, and the time that is left."""
        rate = (self._done - self._num_kept) / max(time.monotonic() - self._began, 1e-9)
        left_s = (self._total - self._done) / rate if rate else 0.0
        return f"{rate:.1f}/s  {_clock(left_s)} left"

    def _print(self) -> None:
        line = self.line()
        if self._live:
            # Blanks cover what is left of a longer line.
            print(f"\r{line:<{self._width}}", end="", file=self._output, flush=True)
            self._width = len(line)
        else:
            print(line, file=self._output, flush=True)


class CountProgress(ProgressBar):
    """Progress of things of one kind, as a function of how many are done and of how many.

    Args:
        what: what is counted, such as ``searches judged``.
        output: where to print; by default the standard error.
    """

    def __init__(self, what: str, output: TextIO | None = None) -> None:
        super().__init__(0, output=output)
        self._what = what

    def __call__(self, done: int, total: int) -> None:
        """Take the numbers, and show them if it is time.

        What was done before the first call took no time, but for one.
        """
        if not self._total:
            self._total, self._num_kept = total, max(done - 1, 0)
        self._done = done
        self.show()

    def line(self) -> str:
        """Return the state as a line."""
        return f"{self._bar()} {self._what}  {self._pace()}"


class Progress(ProgressBar):
    """Progress of a run.

    Args:
        total: number of questions to play, repeats and engines included.
        kept: records of earlier calls.
        prices: prices, to show the cost; None shows none.
        output: where to print; by default the standard error.
    """

    def __init__(
        self,
        total: int,
        kept: Sequence[Record] = (),
        prices: Prices | None = None,
        output: TextIO | None = None,
    ) -> None:
        super().__init__(total, len(kept), output)
        self._prices = prices
        self._failed = self._tokens = self._searches = 0
        self._cost = 0.0
        self._sums = {"f1": 0.0, "exact_match": 0.0}
        for record in kept:
            self._count(record)

    def add(self, record: Record) -> None:
        """Count a record, and show the progress if it is time."""
        self._done += 1
        self._count(record)
        self.show()

    def line(self) -> str:
        """Return the state as a line."""
        scored = max(self._done - self._failed, 1)
        scores = "  ".join(
            f"{label} {self._sums[name] / scored:.3f}"
            for label, name in (("F1", "f1"), ("EM", "exact_match"))
        )
        cost = "" if self._prices is None else f"cost {self._cost:.2f}  "
        return (
            f"{self._bar()}  {scores}  failed {self._failed}  {self._tokens:,} tokens  "
            f"{self._searches:,} searches  {cost}{self._pace()}"
        )

    def _count(self, record: Record) -> None:
        self._tokens += record.prompt_tokens + record.completion_tokens
        self._searches += len(record.searches)
        self._failed += record.failed
        if self._prices is not None:
            self._cost += self._prices.cost_of([record])
        for name in self._sums:
            self._sums[name] += record.scores.get(name, 0.0)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
