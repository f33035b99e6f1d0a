"""A stage of a chain: a command of its own, which is skipped once it has ended well."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zs_env.errors import ZeroSearchError
from zs_env.files import replace_file

DONE = "stages"
"""Folder of the marks of stages that have ended, and of their output."""

POLL_S = 0.5


class StageError(ZeroSearchError):
    """A stage failed, or the folder holds a chain with other options."""


@dataclass(frozen=True)
class Stage:
    """A command that leaves its work in files and, called again, goes on with it.

    Attributes:
        name: name, also of its mark and of its output.
        title: what it does, in a few words.
        command: module of Python and its arguments.
        expected_s: seconds that it takes on two cores, to tell how much time is left.
        ends_well: its exit statuses that let the chain go on.
    """

    name: str
    title: str
    command: tuple[str, ...]
    expected_s: float
    ends_well: tuple[int, ...] = (0,)

    def mark(self, folder: Path) -> Path:
        """Return the file that says that the stage has ended."""
        return folder / DONE / f"{self.name}.json"

    def output(self, folder: Path) -> Path:
        """Return the file that keeps what the command prints."""
        return folder / DONE / f"{self.name}.log"

    def done(self, folder: Path) -> dict[str, Any] | None:
        """Return what is known of the ended stage: command, seconds; None if it has not ended.

        Raises:
            StageError: it was another command.
        """
        path = self.mark(folder)
        if not path.is_file():
            return None
        known: dict[str, Any] = json.loads(path.read_text())
        if known["command"] != list(self.command):
            raise StageError(
                f"{path} is of another command: {shlex.join(known['command'])}. Give the same "
                "options to go on with this chain, or another folder."
            )
        return known


class Running:
    """Stage that runs, in a process of its own.

    Args:
        stage: the stage.
        folder: folder of the chain.
    """

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self._folder = folder
        self._start = time.monotonic()
        self._log = stage.output(folder).open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", *stage.command],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def has_ended(self) -> bool:
        """Return whether it has ended, and mark it as done then.

        Raises:
            StageError: it failed.
        """
        pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        if not pid:
            return False
        self._log.close()
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code
        if code not in self.stage.ends_well:
            raise StageError(
                f"the stage {self.stage.name} ended with status {code}: {self.last_line()} What it "
                f"printed is in {self.stage.output(self._folder)}. Called again, it goes on."
            )
        mark = {
            "command": list(self.stage.command),
            "seconds": round(time.monotonic() - self._start, 1),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        }
        replace_file(self.stage.mark(self._folder), json.dumps(mark, indent=1).encode() + b"\n")
        return True

    def last_line(self) -> str:
        """Return the last line that the command has printed."""
        text = self.stage.output(self._folder).read_bytes()[-2000:].decode(errors="replace")
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def stop(self) -> None:
        """Have it save and end, as Ctrl-C does, and wait for it."""
        if self._process.returncode is None:
            self._process.terminate()
            self._process.wait()
            self._log.close()


def run_stages(groups: Sequence[Sequence[Stage]], folder: Path) -> None:
    """Run the stages of each group side by side, group after group; skip those that are done.

    Raises:
        StageError: a stage failed; what the others have done is kept.
    """
    (folder / DONE).mkdir(parents=True, exist_ok=True)
    pending = [[stage for stage in group if stage.done(folder) is None] for group in groups]
    count = sum(map(len, groups))
    for number, group in enumerate(pending):
        for stage in groups[number]:
            if stage not in group:
                print(f"{stage.name}: done before")
        if group:
            left = sum(max(stage.expected_s for stage in each) for each in pending[number:] if each)
            done = count - sum(map(len, pending[number:]))
            print(f"[{done}/{count}] {' and '.join(s.title for s in group)}; "
                  f"about {_minutes(left)} left", flush=True)  # fmt: skip
            _run_together(group, folder)


def _run_together(group: Sequence[Stage], folder: Path) -> None:
    start = time.monotonic()
    under_way: list[Running] = []
    try:
        under_way += [Running(stage, folder) for stage in group]
        while under_way:
            for running in list(under_way):
                if running.has_ended():
                    under_way.remove(running)
                    seconds = time.monotonic() - start
                    _clear()
                    print(f"  {running.stage.name}: {_minutes(seconds)}", flush=True)
            if under_way:
                _show(under_way[0].last_line())
                time.sleep(POLL_S)
    finally:
        for running in under_way:
            running.stop()


def _show(line: str) -> None:
    """Show the last line of a command in place, on a terminal."""
    if sys.stdout.isatty():
        print(f"\r\033[K  {line[:100]}", end="", flush=True)


def _clear() -> None:
    if sys.stdout.isatty():
        print("\r\033[K", end="")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"
