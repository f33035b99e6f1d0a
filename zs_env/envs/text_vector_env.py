"""Text vector environment: the searches of a step go to the engine as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from typing_extensions import Unpack

from zs_env.engines import checked_search
from zs_env.envs.episode_vector_env import Bools, EpisodeVectorEnv
from zs_env.envs.gym_interface import check_action, check_actions, observation_of
from zs_env.envs.spaces import UnicodeText
from zs_env.envs.text_env import ZeroSearchEnv
from zs_env.episodes import EpisodeSource
from zs_env.settings import TextArguments, TextSettings, make_settings

StepResult = tuple[tuple[str, ...], NDArray[np.float64], Bools, Bools, dict[str, Any]]


class ZeroSearchVectorEnv(EpisodeVectorEnv[tuple[str, ...], Sequence[str]]):
    """Vector environment of ``num_envs`` copies of `ZeroSearchEnv`, with one engine call a step.

    Environment i of a vector reset with seed s returns what the single environment returns after
    its reset with seed s + i. Observations are a tuple of ``num_envs`` strings, actions a sequence
    of ``num_envs`` strings.

    `reset` takes one seed or a list of seeds. Its ``options`` are those of `ZeroSearchEnv`, of
    which ``question``, ``key`` and ``noise_probability`` may be one value or a list with one for
    each environment (None: as without the option), and ``reset_mask``, a bool array of shape
    (num_envs,) that says which environments to reset.

    Args:
        num_envs: number of environments.
        autoreset_mode: ``NextStep``: the step after the end begins an episode and ignores the
            action; ``SameStep``: the step that ends an episode begins the next, and the last
            observation and info are in ``final_obs`` and ``final_info``, so no action is wasted;
            ``Disabled``: finished environments must be reset with ``reset_mask``.
        render_mode: None or ``ansi``.
        arguments: the other arguments of `ZeroSearchEnv`.

    Raises:
        ValueError: an argument is out of its range; see also `zs_env.episodes.EpisodeSource`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **arguments: Unpack[TextArguments],
    ) -> None:
        settings = make_settings(TextSettings, arguments)
        source = EpisodeSource(settings, settings.limits)
        super().__init__(num_envs, source, autoreset_mode, render_mode, ZeroSearchEnv.metadata)
        self.observation = settings.observation
        self.single_action_space = UnicodeText(settings.max_action_chars)
        self.single_observation_space = UnicodeText(settings.max_context_chars)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def step(self, actions: Sequence[str]) -> StepResult:
        """Take a turn in every environment, with one call of the engine for all that search."""
        self._check_step(actions)
        infos = self._begin_finished()  # these environments ignore their action
        self._take_turns(actions, skip=infos)
        for i, episode in enumerate(self._episodes):
            if i not in infos:
                infos[i] = episode.info()
        return self._result(infos)

    def _take_turns(self, actions: Sequence[str], skip: Mapping[int, Any]) -> None:
        requests, askers = [], []
        for i, episode in enumerate(self._episodes):
            request = None if i in skip else episode.act(actions[i])
            if request is not None:
                requests.append(request)
                askers.append(episode)
        if requests:
            episodes, self._episodes = self._episodes, []  # if the engine raises, they cannot go on
            results = checked_search(self.source.engine, requests)
            self._episodes = episodes
            for episode, result in zip(askers, results, strict=True):
                episode.observe(result)

    def _observations(self) -> tuple[str, ...]:
        # A list first, for the benchmark env_overhead: a generator is slower.
        return tuple([observation_of(episode, self.observation) for episode in self._episodes])

    def _observation(self, i: int) -> str:
        return observation_of(self._episodes[i], self.observation)

    def _check_step(self, actions: Sequence[str]) -> None:
        if self._episodes:
            expected = f"a sequence of {self.num_envs} strings, one for each environment"
            check_actions(actions, self.num_envs, expected)
        # There are no episodes before the first reset: `_check_running` then raises.
        for action, episode in zip(actions, self._episodes, strict=False):
            if not episode.finished:
                check_action(action)
        self._check_running()
