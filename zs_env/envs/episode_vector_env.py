"""Base of the native vector environments: reset, autoreset and the results of steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from zs_env.checks import as_integer
from zs_env.envs.render import render_episode
from zs_env.envs.streams import RESET_OPTIONS, EpisodeStreams, check_options, spread
from zs_env.episode import Episode
from zs_env.episodes import EpisodeSource

Bools = NDArray[np.bool_]
Observations = TypeVar("Observations")
Actions = TypeVar("Actions")


class EpisodeVectorEnv(VectorEnv[Observations, Actions, NDArray[Any]]):
    """Vector environment of ``num_envs`` episodes, each followed by the next of its own stream.

    Subclasses show the episodes to the policy (`_observations`, `_observation`, `_show_new`), and
    implement `step`.

    Args:
        num_envs: number of environments.
        source: source of the episodes.
        autoreset_mode: see `zs_env.envs.text_vector_env.ZeroSearchVectorEnv`.
        render_mode: None or ``ansi``.
        metadata: metadata of the single environment.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        num_envs: int,
        source: EpisodeSource,
        autoreset_mode: str | AutoresetMode,
        render_mode: str | None,
        metadata: Mapping[str, Any],
    ) -> None:
        num_envs = as_integer("num_envs", num_envs, 1)
        if render_mode not in (None, "ansi"):
            raise ValueError(
                f"`render_mode` of the vector environment must be None or 'ansi', got "
                f"{render_mode!r}; vectorization_mode='sync' has the others."
            )
        self.source = source
        self.render_mode = render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {
            **metadata,
            "render_modes": ["ansi"],
            "autoreset_mode": self.autoreset_mode,
        }
        self.num_envs = num_envs
        self._streams = EpisodeStreams(source, num_envs, vector=True)
        self._episodes: list[Episode] = []

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """The episode of each environment, running or just finished."""
        return tuple(self._episodes)

    @property
    def progress(self) -> NDArray[np.float64]:
        """Progress of training, by environment: shape (num_envs,), float64."""
        return np.array(self._streams.progress, dtype=np.float64)

    def set_progress(self, progress: float) -> None:
        """Set the progress of training, in [0, 1]; later episodes get its noise probability."""
        self._streams.set_progress(progress)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin an episode in every environment, or in those of ``options["reset_mask"]``."""
        if isinstance(seed, int | np.integer):  # a list seeds the streams alone
            super().reset(seed=int(seed))
        checked = dict(check_options(options, (*RESET_OPTIONS, "reset_mask")))
        chosen = self._check_mask(checked.pop("reset_mask", None))
        seeds = self._check_seeds(seed)
        begun = self._streams.reset({i: seeds[i] for i in chosen}, checked, self._fresh_seed)
        self._episodes = [begun.get(i) or self._episodes[i] for i in range(self.num_envs)]
        for i in begun:
            self._show_new(i)
        infos = {i: self._streams.reset_info(i, episode) for i, episode in begun.items()}
        return self._observations(), self._batch(infos)

    def render(self) -> tuple[str, ...] | None:
        """Return the transcript of each environment with ANSI colours, for render mode ``ansi``."""
        if self.render_mode != "ansi":
            return None
        return tuple(render_episode(episode) for episode in self._episodes)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the engine, if the environment made it."""
        self.source.close()

    @abstractmethod
    def _observations(self) -> Observations:
        """Return what the policy sees of every episode."""

    @abstractmethod
    def _observation(self, i: int) -> Any:
        """Return what the policy sees of the episode of environment i."""

    def _show_new(self, i: int) -> None:
        """Prepare to show the episode that has begun in environment i."""

    def _batch(self, infos: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
        """Return the infos of single environments as those of a vector environment."""
        return batch_infos(infos.items(), self.num_envs)

    def _batch_final(self, infos: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
        """Return the final infos of environments whose episodes have ended, as `_batch` does."""
        return batch_infos(infos.items(), self.num_envs)

    def _result(
        self, infos: dict[int, dict[str, Any]]
    ) -> tuple[Observations, NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        """Return what a step returns, given the infos of the single environments."""
        # Read before the next episodes replace those that have ended.
        rewards = np.array([episode.reward for episode in self._episodes], dtype=np.float64)
        terminations = np.array([episode.terminated for episode in self._episodes])
        truncations = np.array([episode.truncated for episode in self._episodes])
        final: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            final = self._begin_at_once(np.flatnonzero(terminations | truncations), infos)
        return self._observations(), rewards, terminations, truncations, self._batch(infos) | final

    def _begin_finished(self) -> dict[int, dict[str, Any]]:
        """Begin the next episode where one has ended, and return the reset infos."""
        over = [i for i, episode in enumerate(self._episodes) if episode.finished]
        return {i: self._begin_next(i) for i in over}

    def _begin_next(self, i: int) -> dict[str, Any]:
        """Begin the next episode of environment i, and return its reset info."""
        episode = self._episodes[i] = self._streams.next(i, self._fresh_seed)
        self._show_new(i)
        return self._streams.reset_info(i, episode)

    def _begin_at_once(
        self, over: Iterable[int], infos: dict[int, dict[str, Any]]
    ) -> dict[str, Any]:
        """Begin the next episode of each environment of ``over``, for same-step autoreset.

        The infos of these environments are replaced by reset infos. Returns the old ones, with the
        last observations, under Gymnasium's keys for what is final.
        """
        final_infos = {int(i): infos[int(i)] for i in over}
        if not final_infos:
            return {}
        final_info = self._batch_final(final_infos)
        final_obs = np.full(self.num_envs, None, dtype=object)
        mask = np.zeros(self.num_envs, dtype=np.bool_)
        for i in final_infos:
            final_obs[i] = self._observation(i)
            mask[i] = True
            infos[i] = self._begin_next(i)
        return {
            "final_obs": final_obs,
            "_final_obs": mask,
            "final_info": final_info,
            "_final_info": mask.copy(),  # so that two entries share no array
        }

    def _fresh_seed(self) -> int:
        return int(self.np_random.integers(2**63))

    def _check_running(self) -> None:
        """Refuse a step before the first reset, or without autoreset after an episode's end."""
        if not self._episodes:
            raise ResetNeeded("Call reset() before step(): no episode is running.")
        if self.autoreset_mode is AutoresetMode.DISABLED:
            if over := [i for i, episode in enumerate(self._episodes) if episode.finished]:
                raise ResetNeeded(
                    f"Environments {over} are finished: with autoreset_mode='Disabled', reset "
                    "them with options={'reset_mask': ...} before step()."
                )

    def _check_mask(self, mask: Any) -> list[int]:
        """Return the environments to reset."""
        if mask is None:
            return list(range(self.num_envs))
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise TypeError(f"`reset_mask` must be a bool array, got {mask!r}.")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(
                f"`reset_mask` must have shape ({self.num_envs},) and at least one True, got "
                f"{mask}."
            )
        if not self._episodes and not mask.all():
            raise ResetNeeded("The first reset() must be of all environments, without a mask.")
        return [int(i) for i in np.flatnonzero(mask)]

    def _check_seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if isinstance(seed, int | np.integer):
            return [int(seed) + i for i in range(self.num_envs)]
        return spread("seed", seed, self.num_envs)


def batch_infos(infos: Iterable[tuple[int, Mapping[str, Any]]], num_envs: int) -> dict[str, Any]:
    """Return the infos of single environments in the form of Gymnasium's vector environments.

    Args:
        infos: number and info of each environment that has one.
        num_envs: number of environments.

    Returns:
        For each key an array of shape (num_envs,), and under ``_key`` a bool array that says which
        entries are set.
    """
    # For the benchmark env_overhead: infos with the same keys are written together, one array
    # assignment a key.
    groups: dict[tuple[str, ...], tuple[list[int], list[Any]]] = {}
    for i, info in infos:
        places, entries = groups.setdefault(tuple(info), ([], []))
        places.append(i)
        entries.append(info.values())
    batched: dict[str, Any] = {}
    for keys, (places, entries) in groups.items():
        index = np.array(places)
        for key, values in zip(keys, zip(*entries, strict=True), strict=True):
            if key not in batched:
                # As in Gymnasium: numbers in an array of their type, all else as objects.
                kind = type(values[0])
                number = kind in (int, float, bool) or issubclass(kind, np.number)
                batched[key] = np.zeros(num_envs, kind) if number else np.full(num_envs, None)
                batched[f"_{key}"] = np.zeros(num_envs, dtype=np.bool_)
            batched[key][index] = np.array(values, dtype=batched[key].dtype)
            batched[f"_{key}"][index] = True
    return batched
