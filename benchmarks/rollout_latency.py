"""Time of episodes with a slow simulation LLM, as a multiple of the least that a client can take.

    python -m benchmarks.rollout_latency

A server with log-normal latency (median 150 ms, sigma 0.6, fixed for each episode and turn) stands
for the simulation LLM, in a process of its own; a scripted policy searches one to three times and
answers. The floor is asyncio and aiohttp alone, sending the same requests, all at once. Clients
have the default options. Each figure is the median of interleaved runs; the CPU time is that of the
whole client, episodes included. Then 5 % of the replies are errors, and at last the server refuses
what is beyond 32 at a time. Takes about four minutes; exits with status 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from benchmarks.chat_server import MODEL
from benchmarks.rollout_clients import (
    CLIENTS,
    LOCK_STEP,
    POOL,
    ROLLOUT,
    THREADS,
    Outcome,
    Results,
    Setting,
    floor,
    record_bodies,
)
from zs_env.engines import load_engine

NUM_RUNS = 5
MAX_CPU_MS = 0.7
LIMITS = {256: 1.05, 1024: 1.10, 4096: 1.30}
"""Longest time of a client without a barrier, as a multiple of the floor, by number of episodes."""

FAULTY_LIMIT = 1.50
"""The same where replies are errors; the floor is measured without errors."""

MOST_EPISODES = {LOCK_STEP: 1024, THREADS: 256}
"""Clients that wait for more than they need, and the most episodes that they are given."""

ALLOWED = 32
MAX_REFUSED = 0.05
"""Share of requests that a server of `ALLOWED` may have to refuse, once the client knows it."""

FLOOR = "bare asyncio and aiohttp"


class Cost(NamedTuple):
    """Time of a run: by the clock, and of the processor."""

    wall_s: float
    cpu_s: float


def measure(setting: Setting, play: Callable[[Setting], Any]) -> tuple[Cost, Any]:
    """Call ``play``; return its time and its result."""
    # Without its memory of attempts, the server gives each client the same faults.
    forget = urllib.request.Request(sibling(setting.base_url, "forget"), method="POST")
    urllib.request.urlopen(forget).close()
    start, cpu = time.perf_counter(), time.process_time()
    result = play(setting)
    return Cost(time.perf_counter() - start, time.process_time() - cpu), result


def sibling(base_url: str, path: str) -> str:
    """Return the URL of ``path`` beside the API."""
    return f"{base_url.removesuffix('v1')}{path}"


@contextmanager
def server(**options: float) -> Iterator[str]:
    """Run a slow server in a process of its own, and yield its base URL."""
    command = [sys.executable, "-m", "benchmarks.chat_server", "--port", "0"]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def setting_of(num_episodes: int, base_url: str) -> Setting:
    """Return the task of ``num_episodes`` with the default options."""
    options = {"name": "simulated", "base_url": base_url, "model": MODEL}
    return Setting(num_episodes, base_url, load_engine(options))


class Comparison:
    """Comparison of clients on the same episodes.

    Args:
        num_episodes: number of episodes.
        fault_rate: share of replies that are errors; the floor is measured without errors.
    """

    def __init__(self, num_episodes: int, fault_rate: float) -> None:
        self.num_episodes = num_episodes
        self.fault_rate = fault_rate
        self.limit = FAULTY_LIMIT if fault_rate else LIMITS.get(num_episodes)
        self.bodies = record_bodies(num_episodes)
        self.num_searches = sum(map(len, self.bodies))
        self.costs: dict[str, list[Cost]] = {}
        self.results: list[list[Outcome]] = []

    def run(self, num_runs: int) -> None:
        """Run the clients in turn, ``num_runs`` times; ten threads, which take long, only once."""
        with server() as good_url, server(fault_rate=self.fault_rate) as url:
            setting = setting_of(self.num_episodes, url)
            ground = setting._replace(base_url=good_url)
            for run in range(num_runs):
                self._note(FLOOR, measure(ground, lambda _: floor(ground, self.bodies))[0])
                for name, play in CLIENTS.items():
                    fits = self.num_episodes <= MOST_EPISODES.get(name, self.num_episodes)
                    if fits and not (name == THREADS and (run or self.fault_rate)):
                        cost, results = measure(setting, play)
                        self._note(name, cost)
                        self.results.append(results)
            setting.engine.close()

    def report(self) -> bool:
        """Print the times of each client, and return whether all limits hold."""
        faults = f", {self.fault_rate:.0%} of replies are errors" if self.fault_rate else ""
        same = all(results == self.results[0] for results in self.results)
        lost = max(sum(outcome.lost for outcome in results) for results in self.results)
        print(f"\n{self.num_episodes} episodes, {self.num_searches} searches{faults}")
        print(f"  all transcripts and rewards equal: {same}; lost episodes: {lost} (<= 0)")
        return all([same, not lost, *(self._report(name) for name in self.costs)])

    def _report(self, name: str) -> bool:
        base = statistics.median(cost.wall_s for cost in self.costs[FLOOR])
        wall = statistics.median(cost.wall_s for cost in self.costs[name])
        cpu_ms = 1000 * statistics.median(c.cpu_s for c in self.costs[name]) / self.num_searches
        bounded = self.limit is not None and name in (POOL, ROLLOUT)
        bound = f"   <= {self.limit:.2f}, <= {MAX_CPU_MS} ms" if bounded else ""
        print(f"  {name:<26} {wall:6.2f} s  {wall / base:6.2f} x  {cpu_ms:5.2f} ms CPU{bound}")
        return not bounded or (wall / base <= (self.limit or 0) and cpu_ms <= MAX_CPU_MS)

    def _note(self, name: str, cost: Cost) -> None:
        self.costs.setdefault(name, []).append(cost)


def report_small_server(num_episodes: int) -> bool:
    """Play with a server that refuses much; return whether it is flooded or an episode is lost."""
    print(f"\n{num_episodes} episodes, a server that refuses what is beyond {ALLOWED} at a time")
    with server(allowed=ALLOWED) as url:
        setting = setting_of(num_episodes, url)
        held = []
        for heading in ("at first", "once known"):
            cost, results = measure(setting, CLIENTS[POOL])
            counts = json.load(urllib.request.urlopen(sibling(url, "counts")))
            share = counts["num_refused"] / counts["num_requests"]
            held.append(small_server_held(heading, cost, results, share, counts))
        setting.engine.close()
    return all(held)


def small_server_held(
    heading: str, cost: Cost, results: Results, share: float, counts: dict[str, int]
) -> bool:
    """Print how a server of `ALLOWED` fared; return whether the limits hold."""
    lost = sum(outcome.lost for outcome in results)
    known = heading == "once known"
    bound = f" (<= {MAX_REFUSED:.0%}), most at a time" if known else ", most at a time"
    print(
        f"  {heading:<12} {cost.wall_s:6.2f} s  refused {share:.1%}{bound} "
        f"{counts['most_in_flight']}{f' (<= {2 * ALLOWED})' if known else ''}, "
        f"lost episodes: {lost} (<= 0)"
    )
    fits = share <= MAX_REFUSED and counts["most_in_flight"] <= 2 * ALLOWED
    return not lost and (fits or not known)


def main() -> None:
    """Compare the clients at several sizes, with faults, and with a small server."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[*LIMITS], help="numbers of episodes"
    )
    parser.add_argument(
        "--fault-sizes", type=int, nargs="*", default=[256], help="the same, with faulty replies"
    )
    parser.add_argument(
        "--small-server-sizes", type=int, nargs="*", default=[1024], help="the same, refused much"
    )
    parser.add_argument("--runs", type=int, default=NUM_RUNS, help="runs of each client")
    options = parser.parse_args()
    plans = [(size, 0.0) for size in options.sizes]
    plans += [(size, 0.05) for size in options.fault_sizes]
    held = True
    for plan in plans:
        comparison = Comparison(*plan)
        comparison.run(options.runs)
        held &= comparison.report()
    for size in options.small_server_sizes:
        held &= report_small_server(size)
    if not held:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
