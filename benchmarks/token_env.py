"""Overhead of the token environment: share of MaskablePPO's time, steps per second, memory.

    python -m benchmarks.token_env

Takes about two minutes; exits with status 1 if a limit is missed. The engine `world` answers the
searches. MaskablePPO trains the small policy of `agents.sb3` on all cores: the larger the policy,
the smaller the share of the environment. The rest is measured on one core, with tokens drawn at
random among those that the masks allow; the time of drawing is left out. Such a policy thinks until
its turn is nearly full, so turns of 8 tokens, which search or answer in every eighth step, are
measured beside those of 64. Machines are noisy: a rate is the best of many short windows, and the
median is printed beside it.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agents.sb3 import TokenVecEnv
from agents.sb3.__main__ import TASK, Options, make_model
from zs_env.envs.token_env import ZeroSearchTokenEnv
from zs_env.envs.token_vector_env import ZeroSearchTokenVectorEnv

NUM_WINDOWS = 40
WINDOW_S = 0.1
MIN_STEPS_A_SECOND = 50_000  # at N = 64
MAX_SHARE = 0.1  # of MaskablePPO's time
SIZES = ("small", "tiny")


class RandomPlay:
    """Random play of a vector environment with allowed tokens; only its own steps are timed.

    Args:
        envs: token environments.
        seed: seed of the episodes and the tokens.
    """

    def __init__(self, envs: gym.vector.VectorEnv[Any, Any, Any], seed: int = 0) -> None:
        self._envs = envs
        self._draw = np.random.default_rng(seed)
        self._masks = envs.reset(seed=seed)[1]["action_mask"]

    def step(self) -> float:
        """Take a step, and return the seconds that the environment took."""
        chances = self._draw.random(self._masks.shape, dtype=np.float32) * self._masks
        tokens = chances.argmax(axis=1)  # uniform among the allowed tokens
        start = time.perf_counter()
        infos = self._envs.step(tokens)[-1]
        elapsed = time.perf_counter() - start
        self._masks = infos["action_mask"]
        return elapsed

    def rates(self) -> tuple[float, float]:
        """Return token steps per second of the best and the median window."""
        rates = []
        for _ in range(NUM_WINDOWS):
            num_steps, elapsed = 0, 0.0
            while elapsed < WINDOW_S:
                elapsed += self.step()
                num_steps += self._envs.num_envs
            rates.append(num_steps / elapsed)
        return max(rates), statistics.median(rates)


def make_sync(num_envs: int, **kwargs: Any) -> gym.vector.SyncVectorEnv:
    """Make Gymnasium's own vector environment over single ones."""
    return gym.vector.SyncVectorEnv(
        [lambda: ZeroSearchTokenEnv(**kwargs)] * num_envs,
        autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
    )


def make_native(num_envs: int, **kwargs: Any) -> ZeroSearchTokenVectorEnv:
    """Make the native vector environment."""
    return ZeroSearchTokenVectorEnv(num_envs, autoreset_mode="SameStep", **kwargs)


class TimedVecEnv(TokenVecEnv):
    """`TokenVecEnv` that adds up the seconds of steps and masks."""

    seconds = 0.0

    def step_wait(self) -> Any:
        """Take the step, and add its time."""
        start = time.perf_counter()
        result = super().step_wait()
        self.seconds += time.perf_counter() - start
        return result

    def env_method(self, method_name: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Call the method, and add its time."""
        start = time.perf_counter()
        result = super().env_method(method_name, *args, **kwargs)
        self.seconds += time.perf_counter() - start
        return result


def print_share() -> bool:
    """Print the environment's share of MaskablePPO's time; return whether it is small enough."""
    print("share of MaskablePPO's time, tiny world")
    small_enough = True
    for num_envs in (64, 128):
        env = TimedVecEnv(num_envs, noise_end=0.0, **TASK)
        env.seed(0)
        with tempfile.TemporaryDirectory() as folder:
            model = make_model(Options(folder=Path(folder), num_envs=num_envs), env)
            model.learn(32 * num_envs)  # warm up
            env.seconds, start = 0.0, time.perf_counter()
            model.learn(10 * 32 * num_envs, reset_num_timesteps=False)
            share = env.seconds / (time.perf_counter() - start)
            model.logger.close()
        is_limited = num_envs == 64
        limit = f"< {MAX_SHARE:.0%}" if is_limited else ""
        small_enough &= not is_limited or share < MAX_SHARE
        print(f"  N = {num_envs:<28} {share:>10.1%}   {limit}")
    return small_enough


def print_rates() -> bool:
    """Print the steps per second of each configuration; return whether they are fast enough."""
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


def print_memory() -> None:
    """Print the memory of one native environment, with a context of 1,024 tokens."""
    print("memory of an environment after 200 steps, kB")
    for size in SIZES:
        make_native(1, world_size=size).reset(seed=0)  # load the world, which all share, beforehand
        for num_envs in (64, 256):
            tracemalloc.start()
            play = RandomPlay(make_native(num_envs, world_size=size, max_turn_tokens=8))
            for _ in range(200):
                play.step()
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            print(f"  {size}, N = {num_envs:<20} {held / num_envs / 1000:>12.1f}")


def main() -> None:
    """Print every figure beside its limit."""
    small_enough = print_share()
    if hasattr(os, "sched_setaffinity"):  # the rest runs on one core
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    fast_enough = print_rates()
    print_memory()
    sys.exit(0 if small_enough and fast_enough else 1)


if __name__ == "__main__":
    main()
