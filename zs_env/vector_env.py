"""Many text environments in one: their searches go to the engine as one batch a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from zs_env.engines import answer_batch
from zs_env.env import ZeroSearchEnv
from zs_env.episode import Episode
from zs_env.factory import EpisodeStream, as_key, make_factory
from zs_env.gym_interface import (
    check_action,
    check_observation,
    check_options,
    check_progress,
    observation_of,
    reset_info,
)
from zs_env.render import render_episode
from zs_env.spaces import UnicodeText

Bools = NDArray[np.bool_]
StepResult = tuple[tuple[str, ...], NDArray[np.float64], Bools, Bools, dict[str, Any]]


class ZeroSearchVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], NDArray[Any]]):
    """``num_envs`` copies of `ZeroSearchEnv` that ask the engine once a step.

    Environment i, reset with seed s, is in all it returns the single environment of seed s + i.
    Observations are a tuple of ``num_envs`` strings, actions a sequence of as many.

    `reset` takes one seed or a list of seeds, and in ``options`` those of `ZeroSearchEnv`, where
    ``question`` and ``key`` may be one value or a list with one for each environment (None: as
    without the option), and ``reset_mask``, a bool array of shape (num_envs,): which environments
    to reset.

    Args:
        num_envs: number of environments.
        autoreset_mode: ``NextStep``: a step after the end begins an episode and ignores the
            action; ``SameStep``: the step that ends an episode begins the next, and what ended is
            in ``final_obs`` and ``final_info``, which wastes no action; ``Disabled``: finished
            environments must be reset with ``reset_mask``.
        observation: ``transcript`` or ``delta``.
        render_mode: None or ``ansi``.
        arguments: the other arguments of `ZeroSearchEnv`.

    Raises:
        ValueError: an argument is out of its range; see also `zs_env.factory.EpisodeFactory`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        observation: str = "transcript",
        render_mode: str | None = None,
        **arguments: Any,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"`num_envs` must be at least 1, got {num_envs}.")
        if render_mode not in (None, "ansi"):
            raise ValueError(
                f"`render_mode` of the vector environment must be None or 'ansi', got "
                f"{render_mode!r}; vectorization_mode='sync' has the others."
            )
        self.factory = make_factory(arguments)
        self.observation = check_observation(observation)
        self.render_mode = render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {
            **ZeroSearchEnv.metadata,
            "render_modes": ["ansi"],
            "autoreset_mode": self.autoreset_mode,
        }
        self.num_envs = num_envs
        self.single_action_space = UnicodeText(self.factory.max_action_chars)
        self.single_observation_space = UnicodeText(self.factory.max_context_chars)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._progress = [0.0] * num_envs
        self._noise = [self.factory.noise_probability(0.0)] * num_envs
        self._streams: list[EpisodeStream | None] = [None] * num_envs
        self._episodes: list[Episode] = []

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """The episode of each environment, running or just finished."""
        return tuple(self._episodes)

    @property
    def progress(self) -> NDArray[np.float64]:
        """How far training is, by environment: shape (num_envs,), float64."""
        return np.array(self._progress, dtype=np.float64)

    def set_progress(self, progress: float) -> None:
        """Say how far training is, in [0, 1]: sets the noise probability of later episodes."""
        self._set_progress(range(self.num_envs), progress)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Begin an episode in every environment, or in those of ``options["reset_mask"]``."""
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
        checked = check_options(options, ("progress", "question", "key", "reset_mask"))
        chosen = self._check_mask(checked.get("reset_mask"))
        seeds = self._check_seeds(seed)
        questions = [
            self.factory.find(q) for q in self._spread(checked.get("question"), "question")
        ]
        keys = [as_key(key) for key in self._spread(checked.get("key"), "key")]
        if "progress" in checked:
            self._set_progress(chosen, checked["progress"])
        begun = {
            i: self._stream(i, seeds[i]).next(self._noise[i], questions[i], keys[i]) for i in chosen
        }
        self._episodes = [begun.get(i) or self._episodes[i] for i in range(self.num_envs)]
        infos = ((i, reset_info(episode, self._progress[i])) for i, episode in begun.items())
        return self._observations(), batch_infos(infos, self.num_envs)

    def step(self, actions: Sequence[str]) -> StepResult:
        """Take a turn in every environment, with one call of the engine for all that search."""
        self._check_step(actions)
        over = [i for i, episode in enumerate(self._episodes) if episode.finished]
        infos = {i: self._begin_next(i) for i in over}
        self._take_turns(actions, skip=infos)
        for i, episode in enumerate(self._episodes):
            if i not in infos:
                infos[i] = episode.info()
        rewards = np.array([episode.reward for episode in self._episodes], dtype=np.float64)
        terminations = np.array([episode.terminated for episode in self._episodes])
        truncations = np.array([episode.truncated for episode in self._episodes])
        final: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            final = self._begin_at_once(np.flatnonzero(terminations | truncations), infos)
        batched = batch_infos(infos.items(), self.num_envs) | final
        return self._observations(), rewards, terminations, truncations, batched

    def render(self) -> tuple[str, ...] | None:
        """The transcript of each environment with ANSI colours, for render mode ``ansi``."""
        if self.render_mode != "ansi":
            return None
        return tuple(render_episode(episode) for episode in self._episodes)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the engine, if the environment made it."""
        self.factory.close()

    def _take_turns(self, actions: Sequence[str], skip: Mapping[int, Any]) -> None:
        requests, askers = [], []
        for i, episode in enumerate(self._episodes):
            request = None if i in skip else episode.act(actions[i])
            if request is not None:
                requests.append(request)
                askers.append(episode)
        if requests:
            episodes, self._episodes = self._episodes, []  # nothing to go on with if this raises
            results = answer_batch(self.factory.search_engine, requests)
            self._episodes = episodes
            for episode, result in zip(askers, results, strict=True):
                episode.observe(result)

    def _begin_next(self, i: int) -> dict[str, Any]:
        """Begin the next episode of environment i; its reset info."""
        self._episodes[i] = self._stream(i, None).next(self._noise[i])
        return reset_info(self._episodes[i], self._progress[i])

    def _set_progress(self, chosen: Iterable[int], progress: float) -> None:
        progress = check_progress(progress)
        noise = self.factory.noise_probability(progress)
        for i in chosen:
            self._progress[i] = progress
            self._noise[i] = noise

    def _begin_at_once(
        self, over: Iterable[int], infos: dict[int, dict[str, Any]]
    ) -> dict[str, Any]:
        """Same-step autoreset: replace the infos of what is over, and return them as final."""
        final_infos = {int(i): infos[int(i)] for i in over}
        if not final_infos:
            return {}
        final_obs = np.full(self.num_envs, None, dtype=object)
        mask = np.zeros(self.num_envs, dtype=np.bool_)
        for i in final_infos:
            final_obs[i] = observation_of(self._episodes[i], self.observation)
            mask[i] = True
            infos[i] = self._begin_next(i)
        return {
            "final_obs": final_obs,
            "_final_obs": mask,
            "final_info": batch_infos(final_infos.items(), self.num_envs),
            "_final_info": mask.copy(),
        }

    def _observations(self) -> tuple[str, ...]:
        return tuple([observation_of(episode, self.observation) for episode in self._episodes])

    def _stream(self, i: int, seed: int | None) -> EpisodeStream:
        stream = self._streams[i]
        if seed is not None or stream is None:
            seed = int(self.np_random.integers(2**63)) if seed is None else seed
            stream = self._streams[i] = EpisodeStream(self.factory, seed)
        return stream

    def _check_step(self, actions: Sequence[str]) -> None:
        if not self._episodes:
            raise ResetNeeded("Call reset() before step(): no episode is running.")
        if isinstance(actions, str) or len(actions) != self.num_envs:
            raise ValueError(
                f"`actions` must be a sequence of {self.num_envs} strings, one for each "
                f"environment, got {type(actions).__name__} of length {len(actions)}."
            )
        for action, episode in zip(actions, self._episodes, strict=True):
            if not episode.finished:
                check_action(action)
        if self.autoreset_mode is AutoresetMode.DISABLED:
            if over := [i for i, episode in enumerate(self._episodes) if episode.finished]:
                raise ResetNeeded(
                    f"Environments {over} are finished: with autoreset_mode='Disabled', reset "
                    "them with options={'reset_mask': ...} before step()."
                )

    def _check_mask(self, mask: Any) -> list[int]:
        """The environments to reset."""
        if mask is None:
            return list(range(self.num_envs))
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise TypeError(f"`reset_mask` must be a bool array, got {mask!r}.")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(
                f"`reset_mask` must have shape ({self.num_envs},) and one True, got {mask}."
            )
        if not self._episodes and not mask.all():
            raise ResetNeeded("The first reset() must be of all environments, without a mask.")
        return [int(i) for i in np.flatnonzero(mask)]

    def _check_seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if isinstance(seed, int | np.integer):
            return [int(seed) + i for i in range(self.num_envs)]
        return self._spread(seed, "seed")

    def _spread(self, value: Any, name: str) -> list[Any]:
        """One value for each environment."""
        if value is None or isinstance(value, int | str | np.integer):
            return [value] * self.num_envs
        if len(value) != self.num_envs:
            raise ValueError(
                f"`{name}` must be one value or a list of {self.num_envs}, got {len(value)}."
            )
        return list(value)


def batch_infos(infos: Iterable[tuple[int, Mapping[str, Any]]], num_envs: int) -> dict[str, Any]:
    """The infos of single environments as Gymnasium's vector environments give them.

    Args:
        infos: environment and its info, for those that have one.
        num_envs: number of environments.

    Returns:
        For each key an array of shape (num_envs,), and under ``_key`` which entries are set.
    """
    # Infos with the same keys become columns together.
    groups: dict[tuple[str, ...], tuple[list[int], list[Any]]] = {}
    for i, info in infos:
        places, rows = groups.setdefault(tuple(info), ([], []))
        places.append(i)
        rows.append(info.values())
    batched: dict[str, Any] = {}
    for keys, (places, rows) in groups.items():
        index = np.array(places)
        for key, values in zip(keys, zip(*rows, strict=True), strict=True):
            if key not in batched:
                kind = type(values[0])
                number = kind in (int, float, bool)
                batched[key] = np.zeros(num_envs, kind) if number else np.full(num_envs, None)
                batched[f"_{key}"] = np.zeros(num_envs, dtype=np.bool_)
            batched[key][index] = np.array(values, dtype=batched[key].dtype)
            batched[f"_{key}"][index] = True
    return batched
