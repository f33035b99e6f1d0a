"""Time of episodes with a slow simulation LLM, as a multiple of the least that a client can take.

    python -m benchmarks.rollout_latency

A server with log-normal latency (median 150 ms, sigma 0.6, fixed for each episode and turn) stands
for the simulation LLM, in a process of its own; a scripted policy searches one to three times and
answers. The floor is asyncio and aiohttp alone, sending the same requests. Each figure is the
median of three interleaved runs (of ten threads: one run). Takes about three minutes; exits with
status 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NamedTuple

import aiohttp

from benchmarks.chat_server import MODEL
from zs_env import Episode, SearchEngine, keyed_random
from zs_env.engines import checked_search, load_engine
from zs_env.envs.pool import EpisodePool
from zs_env.envs.text_vector_env import ZeroSearchVectorEnv
from zs_env.episodes import EpisodeSource, EpisodeStream
from zs_env.llm import ChatRequest
from zs_env.settings import TextSettings
from zs_env.tokens.rollout import rollout

ANSWER = "<think>I know enough.</think><answer>Lima</answer>"
NUM_RUNS = 3
MAX_CPU_MS = 2.0
SHARES = (0.46, 0.80)
"""Shares of episodes that search at most once, and at most twice: 1.74 searches in the mean."""

Results = list[tuple[str, float]]
"""Transcript and reward of each episode."""


class Cost(NamedTuple):
    """Time of a run: by the clock, and of the processor."""

    wall_s: float
    cpu_s: float


class Setting(NamedTuple):
    """Task of all clients: ``num_episodes`` episodes, with ``engine`` at ``base_url``."""

    num_episodes: int
    base_url: str
    engine: SearchEngine


def policy(episode: Episode) -> str:
    """Search as often as is drawn for the episode, then answer."""
    drawn = keyed_random.uniform("searches", episode.key)
    if episode.num_searches < 1 + sum(drawn >= share for share in SHARES):
        return f"<think>I lack a fact.</think><search>fact {episode.turn}</search>"
    return ANSWER


def begin(setting: Setting) -> list[Episode]:
    """Make the episodes with which environments of seeds 0, 1, … begin."""
    settings = TextSettings(engine=setting.engine)
    source = EpisodeSource(settings, settings.limits)
    return [EpisodeStream(source, seed).next(0.0) for seed in range(setting.num_episodes)]


def results_of(episodes: Sequence[Episode]) -> Results:
    """Return transcript and reward of each episode."""
    return [(episode.transcript, episode.reward) for episode in episodes]


def play_pool(setting: Setting) -> Results:
    """Play with `EpisodePool`, each episode as soon as it is ready."""
    pool = EpisodePool(setting.num_episodes, engine=setting.engine, observation="delta")
    pool.reset(seed=0)
    while pool.num_running:
        ready = pool.recv()
        ids = [int(i) for i in ready.episode_ids if not pool.episode(i).finished]
        pool.send(ids, [policy(pool.episode(i)) for i in ids])
    return results_of([pool.episode(i) for i in range(setting.num_episodes)])


class ByteTokenizer:
    """Tokenizer with a token for each byte of a text, and one for its end."""

    eos_token_id = 256

    def encode(self, text: str, *, add_special_tokens: bool, **_: Any) -> list[int]:
        """Return the bytes of ``text``."""
        return list(text.encode())

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of bytes."""
        return bytes(token for token in token_ids if token < 256).decode(errors="replace")


def play_rollout(setting: Setting) -> Results:
    """Play with `rollout`, all episodes at once on one event loop."""
    tokenizer = ByteTokenizer()

    async def play(episode: Episode) -> None:
        async def generate(
            token_ids: Sequence[int], stop: Sequence[str], max_tokens: int
        ) -> tuple[list[int], list[float]]:
            ids = tokenizer.encode(policy(episode), add_special_tokens=False)
            return ids, [0.0] * len(ids)

        await rollout(episode, setting.engine, generate, tokenizer)

    async def play_all(episodes: Sequence[Episode]) -> None:
        await asyncio.gather(*map(play, episodes))

    episodes = begin(setting)
    asyncio.run(play_all(episodes))
    return results_of(episodes)


def play_lock_step(setting: Setting) -> Results:
    """Play with `ZeroSearchVectorEnv`: each turn waits for the slowest search of the last."""
    envs = ZeroSearchVectorEnv(setting.num_episodes, engine=setting.engine, observation="delta")
    envs.reset(seed=0)
    first = envs.episodes
    while not all(episode.finished for episode in first):
        envs.step([ANSWER if episode.finished else policy(episode) for episode in first])
    return results_of(first)


def play_ten_threads(setting: Setting) -> Results:
    """Play in lock-step, with ten threads that wait for one search each, as the reference does."""
    episodes = begin(setting)
    with ThreadPoolExecutor(10) as executor:
        while running := [episode for episode in episodes if not episode.finished]:
            asked = [(episode, episode.act(policy(episode))) for episode in running]
            searches = [(episode, request) for episode, request in asked if request is not None]
            found = executor.map(
                lambda search: checked_search(setting.engine, [search[1]])[0], searches
            )
            for (episode, _), result in zip(searches, found, strict=True):
                episode.observe(result)
    return results_of(episodes)


def record_bodies(num_episodes: int) -> list[list[dict[str, Any]]]:
    """Return the bodies that the engine posts for each episode, turn by turn."""
    asked: dict[str, ChatRequest] = {}

    def note(request: ChatRequest) -> str:
        asked[request.messages[0].content + str(request.seed)] = request
        return "\n".join(f"Doc {i}: page" for i in range(1, 6))

    engine = load_engine({"name": "simulated", "llm": "scripted", "script": note})
    bodies: list[list[dict[str, Any]]] = []
    for episode in begin(Setting(num_episodes, "", engine)):
        asked.clear()
        while not episode.finished:
            request = episode.act(policy(episode))
            if request is not None:
                episode.observe(checked_search(engine, [request])[0])
        bodies.append([body_of(request) for request in asked.values()])
    return bodies


def body_of(request: ChatRequest) -> dict[str, Any]:
    """Return the body that is posted to a server for ``request``."""
    body = {"model": MODEL, **asdict(request)}
    body["messages"] = [message._asdict() for message in request.messages]
    return body


def floor(setting: Setting, bodies: Sequence[Sequence[dict[str, Any]]]) -> None:
    """Send the same bodies with asyncio and aiohttp alone."""

    async def play(session: aiohttp.ClientSession, turns: Sequence[dict[str, Any]]) -> None:
        for body in turns:
            async with session.post(f"{setting.base_url}/chat/completions", json=body) as response:
                await response.json()

    async def play_all() -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(play(session, turns) for turns in bodies))

    asyncio.run(play_all())


def measure(setting: Setting, play: Callable[[Setting], object]) -> tuple[Cost, object]:
    """Call ``play``; return its time and its result."""
    # Without its memory of attempts, the server gives each client the same faults.
    forget = setting.base_url.replace("/v1", "/forget")
    urllib.request.urlopen(urllib.request.Request(forget, method="POST")).close()
    start, cpu = time.perf_counter(), time.process_time()
    result = play(setting)
    return Cost(time.perf_counter() - start, time.process_time() - cpu), result


@contextmanager
def server(fault_rate: float) -> Iterator[str]:
    """Run a slow server in a process of its own, and yield its base URL."""
    command = [sys.executable, "-m", "benchmarks.chat_server", "--port", "0"]
    command += ["--fault-rate", str(fault_rate)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


FLOOR = "bare asyncio and aiohttp"
CLIENTS: dict[str, Callable[[Setting], Results]] = {
    "EpisodePool": play_pool,
    "rollout()": play_rollout,
    "lock-step vector env": play_lock_step,
    "ten threads": play_ten_threads,
}


class Comparison:
    """Comparison of all clients on the same episodes.

    Args:
        num_episodes: number of episodes.
        fault_rate: share of replies that are errors; the floor is measured without errors.
        limit: longest time of a client without a barrier, as a multiple of the floor.
    """

    def __init__(self, num_episodes: int, fault_rate: float, limit: float) -> None:
        self.num_episodes = num_episodes
        self.fault_rate = fault_rate
        self.limit = limit
        self.bodies = record_bodies(num_episodes)
        self.num_searches = sum(map(len, self.bodies))
        self.costs: dict[str, list[Cost]] = {}
        self.results: list[object] = []

    def run(self, num_runs: int) -> None:
        """Run the clients in turn, ``num_runs`` times; ten threads, which take long, only once."""
        with server(0.0) as good_url, server(self.fault_rate) as url:
            options = {
                "name": "simulated",
                "base_url": url,
                "model": MODEL,
                "max_concurrency": 2048,  # more than the default sizes need
            }
            setting = Setting(self.num_episodes, url, load_engine(options))
            ground = setting._replace(base_url=good_url)
            for run in range(num_runs):
                self._measure(FLOOR, ground, lambda _: floor(ground, self.bodies))
                for name, play in CLIENTS.items():
                    if play is not play_ten_threads or not (run or self.fault_rate):
                        self._measure(name, setting, play)
            setting.engine.close()

    def report(self) -> bool:
        """Print the times of each client, and return whether all limits hold."""
        faults = f", {self.fault_rate:.0%} of replies are errors" if self.fault_rate else ""
        same = all(result == self.results[0] for result in self.results)
        print(f"\n{self.num_episodes} episodes, {self.num_searches} searches{faults}")
        print(f"  all transcripts and rewards equal: {same}")
        return all([same, *(self._report(name) for name in self.costs)])

    def _report(self, name: str) -> bool:
        base = statistics.median(cost.wall_s for cost in self.costs[FLOOR])
        wall = statistics.median(cost.wall_s for cost in self.costs[name])
        cpu_ms = 1000 * statistics.median(c.cpu_s for c in self.costs[name]) / self.num_searches
        # The limits are for 256 episodes, and for clients without a barrier.
        bounded = self.num_episodes == 256 and CLIENTS.get(name) in (play_pool, play_rollout)
        bound = f"   <= {self.limit:.2f}, <= {MAX_CPU_MS:.0f} ms" if bounded else ""
        print(f"  {name:<26} {wall:6.2f} s  {wall / base:6.2f} x  {cpu_ms:5.2f} ms CPU{bound}")
        return not bounded or (wall / base <= self.limit and cpu_ms <= MAX_CPU_MS)

    def _measure(self, name: str, setting: Setting, play: Callable[[Setting], object]) -> None:
        cost, result = measure(setting, play)
        self.costs.setdefault(name, []).append(cost)
        self.results += [result] if result is not None else []


def main() -> None:
    """Compare the clients at several sizes, then with faults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[64, 256, 1024], help="numbers of episodes"
    )
    parser.add_argument(
        "--fault-sizes", type=int, nargs="*", default=[256], help="the same, with faulty replies"
    )
    parser.add_argument("--runs", type=int, default=NUM_RUNS, help="runs of each client")
    options = parser.parse_args()
    plans = [(size, 0.0, 1.10) for size in options.sizes]
    plans += [(size, 0.05, 1.50) for size in options.fault_sizes]
    held = True
    for plan in plans:
        comparison = Comparison(*plan)
        comparison.run(options.runs)
        held &= comparison.report()
    if not held:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
