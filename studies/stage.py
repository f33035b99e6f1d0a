"""A stage of a chain: a command of its own, which is skipped once it has ended well."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from zs_env.errors import ZeroSearchError
from zs_env.files import replace_file

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

STAGES = "stages"
"""Folder of the marks of stages that have ended, of what they printed, and of the lock."""

POLL_S = 0.5

NOTE_S = 5.0
"""Seconds between notes of the time that a stage has taken: a kill loses at most so much."""


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
        return folder / STAGES / f"{self.name}.json"

    def spent(self, folder: Path) -> Path:
        """Return the file that notes the seconds it has taken, while it has not ended."""
        return folder / STAGES / f"{self.name}.spent.json"

    def output(self, folder: Path) -> Path:
        """Return the file that keeps what the command prints."""
        return folder / STAGES / f"{self.name}.log"

    def done(self, folder: Path) -> dict[str, Any] | None:
        """Return what is known of the ended stage: command, seconds; None if it has not ended.

        Seconds are those of all attempts: by the clock, and of all processors. Where an attempt was
        killed with the chain, the clock stands for both.

        Raises:
            StageError: it was another command.
        """
        known = _read(self.mark(folder))
        if known and known["command"] != list(self.command):
            raise StageError(
                f"{self.mark(folder)} is of another command: {shlex.join(known['command'])}. Give "
                "the same options to go on with this chain, or another folder."
            )
        return known or None


class Running:
    """Stage that runs, in a process and a session of its own: Ctrl-C reaches it by `stop` alone.

    Args:
        stage: the stage.
        folder: folder of the chain.
        lock: descriptor of the chain's lock, which the process holds as long as it runs.
    """

    def __init__(self, stage: Stage, folder: Path, lock: int) -> None:
        self.stage = stage
        self._folder = folder
        self._before: dict[str, float] = _read(stage.spent(folder)) or dict.fromkeys(
            ("seconds", "cpu_seconds"), 0.0
        )
        self._start = self._noted = time.monotonic()
        self._ended = False
        with stage.output(folder).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *stage.command],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
                pass_fds=(lock,),
            )

    def has_ended(self) -> bool:
        """Return whether it has ended, and mark it as done then.

        Raises:
            StageError: it failed.
        """
        code = self._wait(os.WNOHANG)
        if code is None:
            if time.monotonic() - self._noted > NOTE_S:
                self._noted = time.monotonic()
                self._note(self._noted - self._start)
            return False
        if code not in self.stage.ends_well:
            raise StageError(
                f"the stage {self.stage.name} ended with status {code}: {self.last_line()} What it "
                f"printed is in {self.stage.output(self._folder)}. Called again, it goes on."
            )
        spent = _read(self.stage.spent(self._folder))
        _write(self.stage.mark(self._folder), {"command": list(self.stage.command), **spent})
        return True

    def last_line(self) -> str:
        """Return the last line that the command has printed."""
        text = self.stage.output(self._folder).read_bytes()[-2000:].decode(errors="replace")
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def stop(self) -> None:
        """Have it save and end, as one Ctrl-C does, and wait for it."""
        if not self._ended:
            os.kill(self._process.pid, signal.SIGINT)  # `send_signal` would reap it, and its times
            self._wait(0)

    def _wait(self, options: int) -> int | None:
        """Return its exit status, and note the time that it took; None if it has not ended."""
        pid, status, usage = os.wait4(self._process.pid, options)
        if not pid:
            return None
        self._ended = True
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._note(usage.ru_utime + usage.ru_stime)
        return self._process.returncode

    def _note(self, cpu_seconds: float) -> None:
        spent = {"seconds": time.monotonic() - self._start, "cpu_seconds": cpu_seconds}
        total = {name: round(self._before[name] + value, 1) for name, value in spent.items()}
        _write(self.stage.spent(self._folder), total)


def run_stages(groups: Sequence[Sequence[Stage]], folder: Path) -> None:
    """Run the stages of each group side by side, group after group; skip those that are done.

    Raises:
        StageError: a stage failed; what the others have done is kept.
    """
    (folder / STAGES).mkdir(parents=True, exist_ok=True)
    with _locked(folder / STAGES / ".lock") as lock:
        pending = [[stage for stage in group if stage.done(folder) is None] for group in groups]
        for number, group in enumerate(pending):
            for stage in groups[number]:
                if stage not in group:
                    print(f"{stage.name}: done before")
            if group:
                _announce(pending[number:], sum(map(len, groups)))
                _run_together(group, folder, lock)


def _announce(pending: Sequence[Sequence[Stage]], count: int) -> None:
    left = sum(max(stage.expected_s for stage in group) for group in pending if group)
    titles = " and ".join(stage.title for stage in pending[0])
    done = count - sum(map(len, pending))
    print(f"[{done}/{count}] {titles}; about {_minutes(left)} left", flush=True)


def _run_together(group: Sequence[Stage], folder: Path, lock: int) -> None:
    start = time.monotonic()
    under_way: list[Running] = []
    try:
        for stage in group:
            under_way.append(Running(stage, folder, lock))
        while under_way:
            for running in list(under_way):
                if running.has_ended():
                    under_way.remove(running)
                    _clear()
                    taken = time.monotonic() - start
                    print(f"  {running.stage.name}: {_minutes(taken)}", flush=True)
            if under_way:
                _show(under_way[0].last_line())
                time.sleep(POLL_S)
    finally:
        for running in under_way:
            running.stop()


@contextmanager
def ending_as_program() -> Iterator[None]:
    """End as a program does what runs stages: SIGTERM is as Ctrl-C, and an error is one line.

    Raises:
        SystemExit: it was interrupted, or failed.
    """
    signal.signal(signal.SIGTERM, _interrupt)  # stages then save and end, as after Ctrl-C
    try:
        yield
    except ZeroSearchError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold the lock of a chain; yield its descriptor, which its stages hold as well.

    A stage whose chain was killed goes on, and is waited for.
    """
    with path.open("w") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                print("waiting for another program that works on this chain …", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _write(path: Path, values: dict[str, Any]) -> None:
    replace_file(path, json.dumps(values, indent=1).encode() + b"\n")


def _show(line: str) -> None:
    """Show the last line of a command in place, on a terminal."""
    if sys.stdout.isatty():
        print(f"\r\033[K  {line[:100]}", end="", flush=True)


def _clear() -> None:
    if sys.stdout.isatty():
        print("\r\033[K", end="")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"
