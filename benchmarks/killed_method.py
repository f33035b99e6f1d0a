"""A chain of the method that is killed at random moments comes to the same figures.

    python -m benchmarks.killed_method [--kills 10] [--seed 0]

Runs a small chain undisturbed, then another with the same options that is killed (SIGKILL) at
random moments and called again: every second time with all that it has started, as when a machine
fails, and else alone, so that its stage goes on without it. Fails if the figures in results.json
differ, those of time aside. A lone figure of the policy `simulated` may differ by rounding, which
follows the batches that the simulation LLM wrote; all others are the same to the last digit.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import tyro

OPTIONS = (
    "--num-questions", "400", "--num-pairs", "1000", "--variants", "2", "--num-queries", "40",
    "--updates", "3", "--num-test-questions", "30",
)  # fmt: skip


def main(kills: int = 10, seed: int = 0, folder: Path | None = None) -> None:
    """Run both chains, and compare them.

    Args:
        kills: how often the second chain is killed.
        seed: seed of the moments.
        folder: folder of both chains, which are kept; by default a temporary one.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        start = time.monotonic()
        _start(place / "whole").wait()
        taken = time.monotonic() - start
        print(f"undisturbed: {taken:.0f} s", flush=True)
        draw = random.Random(seed)
        for number in range(kills):
            seconds = draw.uniform(0.0, 2 * taken / (kills + 1))
            _kill(_start(place / "killed"), seconds, alone=bool(number % 2))
        _start(place / "killed").wait()
        whole, killed = (_figures(place / name) for name in ("whole", "killed"))
    different = sorted({name for name, _ in whole.items() ^ killed.items()})
    if different:
        lines = [f"  {name}: {whole.get(name)}, {killed.get(name)}" for name in different]
        sys.exit("\n".join(["the figures differ (undisturbed, killed):", *lines]))
    print(f"killed {kills} times: the same figures")


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "studies.method", *OPTIONS, "--folder", str(folder)]
    return subprocess.Popen(command, start_new_session=True)


def _kill(chain: subprocess.Popen[bytes], seconds: float, *, alone: bool) -> None:
    """Kill the chain after ``seconds``, and what it has started unless ``alone``.

    Raises:
        SystemExit: it has ended before.
    """
    time.sleep(seconds)
    if chain.poll() is not None:
        sys.exit(f"the chain ended with status {chain.returncode} before it was killed.")
    victims = [chain.pid] if alone else [chain.pid, *_descendants(chain.pid)]
    print(f"killed after {seconds:.0f} s: {len(victims)} processes", flush=True)
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    chain.wait()


def _descendants(pid: int) -> Iterator[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    for child in map(int, listed.stdout.split()):
        yield child
        yield from _descendants(child)


def _figures(folder: Path) -> dict[str, str]:
    """Return all figures of a chain but those of time, and nothing of where it lies, by place."""
    text = (folder / "results.json").read_text()
    return dict(_by_place(_without_time(json.loads(text.replace(str(folder), "FOLDER")))))


def _by_place(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield all that ``value`` holds, each as JSON, with its place."""
    parts = dict(enumerate(value)) if isinstance(value, list) else value
    if not parts or not isinstance(parts, dict):
        yield place, json.dumps(value)
        return
    for name, part in parts.items():
        yield from _by_place(part, f"{place}/{name}")


def _without_time(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _without_time(each)
            for name, each in value.items()
            if name != "costs" and "seconds" not in name
        }
    return [_without_time(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
