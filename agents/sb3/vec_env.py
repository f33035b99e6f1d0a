"""The native vector environment as a `VecEnv` of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from zs_env.envs.token_vector_env import ZeroSearchTokenVectorEnv

Indices = None | int | Iterable[int]
Observations = dict[str, NDArray[Any]]

BY_ENVIRONMENT = {"episode": "episodes", "progress": "progress"}
"""Attributes of each environment, and their names in the vector environment, which lists them."""


class TokenVecEnv(VecEnv):
    """``num_envs`` token environments, stepped natively, for the algorithms of SB3.

    A step that ends an episode begins the next; the last observation is in
    ``terminal_observation``. The info of a finished episode holds reward and length in
    ``info["episode"]``, as SB3's monitors do. The other infos are those of the single environment,
    without ``action_mask``: ``env_method("action_masks")`` returns the masks of all environments.
    Other methods are called, and attributes set, for all environments together.

    Where ``TimeLimit.truncated`` is True, SB3 adds the value of the last state to the reward. The
    reward of an episode whose turns are spent is 0.0 and final: with a value added, never answering
    would pay. So it is False unless ``bootstraps``; ``truncated`` tells of truncation.

    Args:
        num_envs: number of environments.
        bootstraps: whether SB3 adds the value of the last state of a truncated episode.
        arguments: arguments of `zs_env.envs.token_env.ZeroSearchTokenEnv`.
    """

    def __init__(self, num_envs: int, *, bootstraps: bool = False, **arguments: Any) -> None:
        self.bootstraps = bootstraps
        self.envs = ZeroSearchTokenVectorEnv(num_envs, autoreset_mode="SameStep", **arguments)
        super().__init__(
            num_envs, self.envs.single_observation_space, self.envs.single_action_space
        )
        self._actions: NDArray[np.int64] = np.zeros(num_envs, dtype=np.int64)
        self._lengths = np.zeros(num_envs, dtype=np.int64)
        self._masks = self.envs.action_masks()

    def reset(self) -> Observations:
        """Begin an episode in each environment, with the seeds and options set before."""
        seeds = None if self._seeds[0] is None else list(self._seeds)
        observations, infos = self.envs.reset(seed=seeds, options=_joined(self._options))
        self.reset_infos = [_one(infos, i) for i in range(self.num_envs)]
        self._masks = infos["action_mask"].view(np.bool_)  # int8 of 0 and 1, not copied
        self._lengths[:] = 0
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[Observations, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step all environments with the actions of `step_async`."""
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        ended = terminated | truncated
        self._masks = infos["action_mask"].view(np.bool_)
        self._lengths += 1
        # For the benchmark env_overhead: only the few environments with an info are visited.
        listed: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(infos.get("_turn", [])).tolist():
            listed[i] = _one(infos, i)
        for i in np.flatnonzero(ended).tolist():
            self.reset_infos[i] = _one(infos, i)
            listed[i] = {
                **_one(infos["final_info"], i),
                "terminal_observation": infos["final_obs"][i],
                "truncated": bool(truncated[i]),
                "TimeLimit.truncated": bool(truncated[i]) and self.bootstraps,
                "episode": {"r": float(rewards[i]), "l": int(self._lengths[i]), "t": 0.0},
            }
        self._lengths[ended] = 0
        return observations, rewards.astype(np.float32), ended, listed

    def close(self) -> None:
        """Close the engine, if the environments made it."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute for each of ``indices``; most are shared by all environments."""
        if attr_name in BY_ENVIRONMENT:
            values = getattr(self.envs, BY_ENVIRONMENT[attr_name])
            return [values[i] for i in self._get_indices(indices)]
        if attr_name in ("action_space", "observation_space"):
            attr_name = f"single_{attr_name}"
        value = getattr(self.envs, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of all environments.

        Raises:
            ValueError: ``indices`` leaves an environment out.
        """
        self._check_all(f"{attr_name!r} is set", indices)
        setattr(self.envs, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Return ``action_masks`` of each of ``indices``, or call another method once for all.

        Raises:
            ValueError: the method is ``reset`` or ``step``, or ``indices`` leaves an environment
                out.
        """
        if method_name == "action_masks":
            return [self._masks[i] for i in self._get_indices(indices)]
        if method_name in ("reset", "step"):
            raise ValueError(f"call {method_name}() of the vector environment itself.")
        self._check_all(f"{method_name}() is called", indices)
        result = getattr(self.envs, method_name)(*method_args, **method_kwargs)
        return [result for _ in range(self.num_envs)]

    def _check_all(self, what: str, indices: Indices) -> None:
        if len(set(self._get_indices(indices))) < self.num_envs:
            raise ValueError(f"{what} for all environments together: leave `indices` out.")

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Indices = None
    ) -> list[bool]:
        """Return True for SB3's Monitor, whose entries infos have; no environment is wrapped."""
        from stable_baselines3.common.monitor import Monitor

        return [wrapper_class is Monitor for _ in self._get_indices(indices)]


def _joined(options: list[dict[str, Any]]) -> dict[str, Any]:
    """Return options of single environments as those of the vector environment, lists by name.

    Raises:
        ValueError: they differ in ``progress``, which all environments share.
    """
    joined: dict[str, Any] = {
        name: [one.get(name) for one in options] for name in {n for one in options for n in one}
    }
    if "progress" in joined:
        first, *others = joined["progress"]
        if any(other != first for other in others):
            raise ValueError(f"`progress` must be the same in all options, got {joined}.")
        joined["progress"] = first
    return joined


def _one(infos: dict[str, Any], i: int) -> dict[str, Any]:
    """Return the info of environment i."""
    return {
        key: value[i]
        for key, value in infos.items()
        if not key.startswith(("_", "final_")) and key != "action_mask" and infos[f"_{key}"][i]
    }
