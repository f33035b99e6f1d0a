"""Wrappers that advance the curriculum, for trainers that do not call `set_progress`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import SyncVectorEnv, VectorEnv, VectorWrapper


class EpisodeProgress(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Wrapper that sets ``progress`` to the share of ``total_episodes`` that have finished.

    Args:
        env: an environment with ``set_progress``, such as `ZeroSearchEnv`, wrapped or not.
        total_episodes: number of episodes after which progress stays at 1.

    Raises:
        ValueError: ``total_episodes`` is less than 1.
        TypeError: the environment has no ``set_progress``.
    """

    def __init__(self, env: gym.Env[Any, Any], total_episodes: int) -> None:
        RecordConstructorArgs.__init__(self, total_episodes=total_episodes)
        super().__init__(env)
        self._counter = _Counter(total_episodes, _find_set_progress(env.unwrapped))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and count the episode if it has finished."""
        result = self.env.step(action)
        self._counter.add(int(result[2] or result[3]))
        return result


class VectorEpisodeProgress(VectorWrapper[Any, Any, Any, Any, Any]):
    """Wrapper that sets ``progress`` to the share of ``total_episodes`` that have finished.

    Args:
        env: a vector environment with ``set_progress``, such as `ZeroSearchVectorEnv`, or a
            `SyncVectorEnv` of such environments; wrapped or not.
        total_episodes: number of episodes, over all environments, after which progress stays at 1.

    Raises:
        ValueError: ``total_episodes`` is less than 1.
        TypeError: the environment has no ``set_progress``.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], total_episodes: int) -> None:
        super().__init__(env)
        self._counter = _Counter(total_episodes, _find_set_progress(env.unwrapped))

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step, and count the episodes that have finished."""
        result = self.env.step(actions)
        self._counter.add(int(np.count_nonzero(result[2] | result[3])))
        return result


class _Counter:
    """Counter of finished episodes, which sets the progress."""

    def __init__(self, total_episodes: int, set_progress: Callable[[float], object]) -> None:
        if total_episodes < 1:
            raise ValueError(f"`total_episodes` must be at least 1, got {total_episodes}.")
        self._total = total_episodes
        self._set_progress = set_progress
        self._num_finished = 0

    def add(self, num_finished: int) -> None:
        if num_finished:
            self._num_finished += num_finished
            self._set_progress(min(1.0, self._num_finished / self._total))


def _find_set_progress(env: Any) -> Callable[[float], object]:
    if isinstance(env, SyncVectorEnv):
        for single in env.envs:
            _find_set_progress(single.unwrapped)
        return partial(env.call, "set_progress")
    if not hasattr(env, "set_progress"):
        raise TypeError(f"{type(env).__name__} has no `set_progress`: it has no curriculum.")
    found: Callable[[float], object] = env.set_progress
    return found
