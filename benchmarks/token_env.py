"""What the token environment costs: token steps a second with the engine `world`, and memory.

    python -m benchmarks.token_env

Takes about 90 s, on one core; exits with 1 if a limit is missed. Tokens are drawn at random among
those that the masks allow, and the time that drawing takes is left out. Such a policy thinks until
its turn is nearly full, so turns of 8 tokens, which search or answer in every eighth step, are
measured beside those of 64. Machines are noisy: a rate is the best of many short windows, and the
median stands beside it.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import tracemalloc
from typing import Any

import gymnasium as gym
import numpy as np

from zs_env.token_env import ZeroSearchTokenEnv
from zs_env.token_vector_env import ZeroSearchTokenVectorEnv

NUM_WINDOWS = 40
WINDOW_S = 0.1
MIN_STEPS_A_SECOND = 50_000  # at N = 64
SIZES = ("small", "tiny")


class RandomPlay:
    """Steps a vector environment with allowed tokens, and takes the time of its steps alone.

    Args:
        envs: token environments.
        seed: of the episodes and the tokens.
    """

    def __init__(self, envs: gym.vector.VectorEnv[Any, Any, Any], seed: int = 0) -> None:
        self._envs = envs
        self._draw = np.random.default_rng(seed)
        self._masks = envs.reset(seed=seed)[1]["action_mask"]

    def step(self) -> float:
        """Take a step; the seconds that the environment took."""
        chances = self._draw.random(self._masks.shape, dtype=np.float32) * self._masks
        tokens = chances.argmax(axis=1)
        start = time.perf_counter()
        infos = self._envs.step(tokens)[-1]
        elapsed = time.perf_counter() - start
        self._masks = infos["action_mask"]
        return elapsed

    def rates(self) -> tuple[float, float]:
        """Token steps a second: the best and the median window."""
        rates = []
        for _ in range(NUM_WINDOWS):
            num_steps, elapsed = 0, 0.0
            while elapsed < WINDOW_S:
                elapsed += self.step()
                num_steps += self._envs.num_envs
            rates.append(num_steps / elapsed)
        return max(rates), statistics.median(rates)


def make_sync(num_envs: int, **kwargs: Any) -> gym.vector.SyncVectorEnv:
    """Gymnasium's own vector environment over single ones."""
    return gym.vector.SyncVectorEnv(
        [lambda: ZeroSearchTokenEnv(**kwargs)] * num_envs,
        autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
    )


def make_native(num_envs: int, **kwargs: Any) -> ZeroSearchTokenVectorEnv:
    """The native one."""
    return ZeroSearchTokenVectorEnv(num_envs, autoreset_mode="SameStep", **kwargs)


def print_rates() -> bool:
    """Steps a second by world, turn length and number of environments; True if fast enough."""
    fast_enough = True
    print(f"token steps a second (best / median window){'limit':>27}")
    for size in SIZES:
        for max_turn_tokens in (64, 8):
            print(f" {size} world, turns of at most {max_turn_tokens} tokens")
            kwargs = {"world_size": size, "max_turn_tokens": max_turn_tokens}
            for num_envs in (1, 64, 256):
                best, median = RandomPlay(make_native(num_envs, **kwargs)).rates()
                is_limited = (num_envs, max_turn_tokens) == (64, 64)
                limit = f">= {MIN_STEPS_A_SECOND:,}" if is_limited else ""
                fast_enough &= not limit or best >= MIN_STEPS_A_SECOND
                print(f"  native, N = {num_envs:<20} {best:>10,.0f} / {median:>9,.0f}   {limit}")
            best, median = RandomPlay(make_sync(64, **kwargs)).rates()
            print(f"  SyncVectorEnv, N = 64            {best:>10,.0f} / {median:>9,.0f}")
    return fast_enough


def print_memory() -> bool:
    """Memory that an environment of the native vector environment holds, contexts of 1,024."""
    print("memory of an environment after 200 steps, kB")
    for size in SIZES:
        make_native(1, world_size=size).reset(seed=0)  # the world, which all share
        for num_envs in (64, 256):
            tracemalloc.start()
            play = RandomPlay(make_native(num_envs, world_size=size, max_turn_tokens=8))
            for _ in range(200):
                play.step()
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            print(f"  {size}, N = {num_envs:<20} {held / num_envs / 1000:>12.1f}")
    return True


SECTIONS = (print_rates, print_memory)
"""Each prints its figures, and says whether they keep their limits."""


def main() -> None:
    """Print every figure beside its limit."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    kept = [section() for section in SECTIONS]
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
