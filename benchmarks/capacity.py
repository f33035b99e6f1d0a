"""Memory and processor time of many episodes that one process plays at the same time.

    python -m benchmarks.capacity [--sizes 64 1024 16384]

A server with log-normal latency (median 150 ms) stands for the simulation LLM, in a process of its
own; a scripted policy, without a GPU, searches one to three times and answers. Each size and each
client has a process of its own, whose greatest memory is compared with what it was before the first
episode. Prints what `docs/capacity.md` computes with.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import urllib.request
from typing import NamedTuple

import tyro

from benchmarks.rollout_clients import POOL, ROLLOUT, play_pool, play_rollout
from benchmarks.rollout_latency import measure, server, setting_of, sibling

CLIENTS = {POOL: play_pool, ROLLOUT: play_rollout}
BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


class Load(NamedTuple):
    """What a number of concurrent episodes cost one process."""

    wall_s: float
    cpu_s: float
    bytes_used: int
    lost: int


def load_of(num_episodes: int, name: str, url: str) -> Load:
    """Play the episodes all at once, in this process."""
    setting = setting_of(num_episodes, url)
    before = _memory()
    cost, results = measure(setting, CLIENTS[name])
    setting.engine.close()
    lost = sum(outcome.lost for outcome in results)
    return Load(cost.wall_s, cost.cpu_s, _memory() - before, lost)


def _memory() -> int:
    """Return the greatest memory that the process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_OF_MAXRSS


def main(sizes: tuple[int, ...] = (64, 1024, 16384)) -> None:
    """Measure every size with every client.

    Args:
        sizes: numbers of episodes that are played at the same time.
    """
    lost = 0
    for size in sizes:
        for name in CLIENTS:
            with server() as url, multiprocessing.get_context("spawn").Pool(1) as process:
                load = process.apply(load_of, (size, name, url))
                counts = json.load(urllib.request.urlopen(sibling(url, "counts")))
            searches = counts["num_requests"]
            lost += load.lost
            print(
                f"{size:6,} episodes, {name:<24} {load.wall_s:6.1f} s, "
                f"{searches / load.wall_s:5.0f} searches a second\n"
                f"    CPU {1e3 * load.cpu_s / searches:.2f} ms a search; memory "
                f"{load.bytes_used / 2**20:.1f} MB, {load.bytes_used / size / 1024:.1f} kB an "
                f"episode; lost {load.lost}",
                flush=True,
            )
    if lost:
        sys.exit(f"{lost} episodes were lost.")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
