"""Wrappers that advance the curriculum, for trainers that know nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray


class EpisodeProgress(gym.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Sets ``progress`` to the share of ``total_episodes`` that have finished.

    Args:
        env: a `ZeroSearchEnv`, wrapped or not.
        total_episodes: episodes after which progress is, and stays, 1.

    Raises:
        ValueError: ``total_episodes`` is less than 1.
    """

    def __init__(self, env: gym.Env[str, str], total_episodes: int) -> None:
        RecordConstructorArgs.__init__(self, total_episodes=total_episodes)
        super().__init__(env)
        self.total_episodes = _check_total(total_episodes)
        self.num_finished = 0

    def step(self, action: str) -> tuple[str, Any, bool, bool, dict[str, Any]]:
        """Step, and count the episode if it has finished."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            self.num_finished += 1
            progress = min(1.0, self.num_finished / self.total_episodes)
            self.get_wrapper_attr("set_progress")(progress)
        return observation, reward, terminated, truncated, info


class VectorEpisodeProgress(
    VectorWrapper[tuple[str, ...], Sequence[str], tuple[str, ...], Sequence[str], NDArray[Any]]
):
    """Sets ``progress`` to the share of ``total_episodes`` that have finished.

    Args:
        env: a `ZeroSearchVectorEnv`, wrapped or not.
        total_episodes: episodes, over all environments, after which progress is, and stays, 1.

    Raises:
        ValueError: ``total_episodes`` is less than 1.
    """

    def __init__(
        self, env: VectorEnv[tuple[str, ...], Sequence[str], NDArray[Any]], total_episodes: int
    ) -> None:
        super().__init__(env)
        self.total_episodes = _check_total(total_episodes)
        self.num_finished = 0

    def step(
        self, actions: Sequence[str]
    ) -> tuple[tuple[str, ...], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Step, and count the episodes that have finished."""
        result = self.env.step(actions)
        if num_finished := int(np.count_nonzero(result[2] | result[3])):
            self.num_finished += num_finished
            progress = min(1.0, self.num_finished / self.total_episodes)
            self.unwrapped.set_progress(progress)  # type: ignore[attr-defined]
        return result


def _check_total(total_episodes: int) -> int:
    if total_episodes < 1:
        raise ValueError(f"`total_episodes` must be at least 1, got {total_episodes}.")
    return total_episodes
