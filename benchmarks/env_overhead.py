"""Overhead of the environment: steps per second with an instant engine, memory, start-up.

    python -m benchmarks.env_overhead

Takes about two minutes, on one core. An episode is two searches, each answered with five documents
of 30 words, and an answer. Machines are noisy: a rate is the best of many short windows, and the
median is printed beside it. Start-up is measured in fresh processes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence

import gymnasium as gym

from zs_env import Document, SearchEngine, SearchRequest, SearchResult
from zs_env.envs.text_env import ZeroSearchEnv
from zs_env.envs.text_vector_env import ZeroSearchVectorEnv

SEARCH = (
    "<think>I need the birthplace of Ada Blake.</think><search>birthplace of Ada Blake</search>"
)
ANSWER = "<think>I know the answer.</think><answer>Jarrow Corvale</answer>"
TURNS = (SEARCH, SEARCH, ANSWER)

NUM_WINDOWS = 100
WINDOW_S = 0.1


class InstantEngine(SearchEngine):
    """Engine that returns the same five documents of 30 words for every search."""

    def __init__(self) -> None:
        text = (
            "Ada Blake was born in Kestrel Yarrow. The rival of Ada Blake is Hugo Cobb. "
            "Silver Harbour was released in 1954. Olga Crane lives in Westmoor Eastmere. "
            "Remy Duarte works for Gallo Anchor."
        )
        self.result = SearchResult(tuple(Document(f"{text} {i}") for i in range(5)))

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Return the same result for each request."""
        return [self.result] * len(requests)


def measure_rate(step: Callable[[], int]) -> tuple[float, float]:
    """Return steps per second of the best and the median window; ``step`` returns its steps."""
    rates = []
    for _ in range(NUM_WINDOWS):
        steps, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < WINDOW_S:
            steps += step()
        rates.append(steps / elapsed)
    return max(rates), statistics.median(rates)


def vector_step(num_envs: int, sync: bool = False) -> Callable[[], int]:
    """Return a function that steps a vector environment once."""
    kwargs = {"num_envs": num_envs, "engine": InstantEngine()}
    envs: gym.vector.VectorEnv[tuple[str, ...], Sequence[str]]
    if sync:
        envs = gym.make_vec(
            "ZeroSearch-v0",
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": "SameStep"},
            **kwargs,  # type: ignore[arg-type]
        )
    else:
        envs = ZeroSearchVectorEnv(autoreset_mode="SameStep", **kwargs)  # type: ignore[arg-type]
    envs.reset(seed=0)
    batches = [[turn] * num_envs for turn in TURNS]
    count = 0

    def step() -> int:
        nonlocal count
        envs.step(batches[count % len(batches)])
        count += 1
        return num_envs

    return step


def single_step() -> Callable[[], int]:
    """Return a function that plays one episode in a single environment of ``gym.make``."""
    env = gym.make("ZeroSearch-v0", engine=InstantEngine())

    def step() -> int:
        env.reset()
        for turn in TURNS:
            env.step(turn)
        return len(TURNS)

    return step


def memory_per_env(num_envs: int) -> float:
    """Return the bytes that one of ``num_envs`` environments holds after two searches."""
    ZeroSearchEnv().reset(seed=0)  # load the world, which all share, beforehand
    tracemalloc.start()
    envs = ZeroSearchVectorEnv(num_envs=num_envs, engine=InstantEngine())
    envs.reset(seed=0)
    for turn in (SEARCH, SEARCH):
        observations = envs.step([turn] * num_envs)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del observations  # kept until now, to be counted
    return held / num_envs


def run_python(code: str) -> list[float]:
    """Return the numbers that ``code`` prints, of the fastest of three fresh processes."""
    command = [sys.executable, "-c", code]
    outputs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in "123"]
    return min([float(number) for number in output.stdout.split()] for output in outputs)


START_UP = """
import pathlib, sys, time
start = time.perf_counter()
{code}
print(time.perf_counter() - start)
status = pathlib.Path("/proc/self/status")  # ru_maxrss would count what the parent had
text = status.read_text() if status.exists() else ""
print(int(text.split("VmHWM:")[1].split()[0]) / 1024 if "VmHWM:" in text else float("nan"))
print(float("torch" in sys.modules))
"""
MAKE = (
    "import gymnasium, zs_env; gymnasium.make('ZeroSearch-v0', world_size='{size}').reset(seed=0)"
)


def main() -> None:
    """Print every figure beside its limit."""
    if hasattr(os, "sched_setaffinity"):  # run on one core
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print("steps a second (best / median window)                    limit")
    for name, limit, step in [
        ("native vector env, N = 256", ">= 50,000", vector_step(256)),
        ("native vector env, N = 16", "", vector_step(16)),
        ("SyncVectorEnv, N = 256", "", vector_step(256, sync=True)),
        ("single env, gym.make", ">= 15,000", single_step()),
    ]:
        best, median = measure_rate(step)
        print(f"  {name:<32} {best:>10,.0f} / {median:>9,.0f}   {limit}")
    print("memory of an environment, kB")
    for num_envs in (64, 256, 1024):
        print(f"  N = {num_envs:<28} {memory_per_env(num_envs) / 1000:>10.1f}   < 50")
    print("start-up, in a process of its own")
    seconds, _, torch = run_python(START_UP.format(code="import zs_env"))
    print(f"  import zs_env                    {seconds:>9.2f} s   < 0.6 s; torch: {bool(torch)}")
    for size, limit in (("small", "< 1 s"), ("medium", ""), ("large", "< 20 s, 1,500 MB")):
        seconds, peak_mb, _ = run_python(START_UP.format(code=MAKE.format(size=size)))
        print(f"  make and reset, {size:<16} {seconds:>9.2f} s, peak {peak_mb:,.0f} MB   {limit}")


if __name__ == "__main__":
    main()
