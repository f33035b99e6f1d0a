"""Token vector environment: arrays of tokens, and one engine call a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from typing_extensions import Unpack

from zs_env.envs.episode_vector_env import Bools, EpisodeVectorEnv
from zs_env.envs.token_env import Observation, ZeroSearchTokenEnv
from zs_env.envs.token_setup import TokenSetup
from zs_env.settings import TokenArguments

StepResult = tuple[Observation, NDArray[np.float64], Bools, Bools, dict[str, Any]]


class ZeroSearchTokenVectorEnv(EpisodeVectorEnv[Observation, NDArray[np.int64]]):
    """Vector environment of ``num_envs`` `ZeroSearchTokenEnv`, with one engine call a step.

    Environment i of a vector reset with seed s returns what the single environment returns after
    its reset with seed s + i. Actions are integers of shape (num_envs,); observations and
    ``infos["action_mask"]`` have a first axis of num_envs. Every environment has a mask, even if
    only some were reset.

    Args:
        num_envs: number of environments.
        autoreset_mode: as for `zs_env.envs.text_vector_env.ZeroSearchVectorEnv`.
        render_mode: None or ``ansi``.
        arguments: the other arguments of `ZeroSearchTokenEnv`.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **arguments: Unpack[TokenArguments],
    ) -> None:
        self.setup = TokenSetup(arguments)
        metadata = ZeroSearchTokenEnv.metadata
        super().__init__(num_envs, self.setup.source, autoreset_mode, render_mode, metadata)
        self.single_action_space = self.setup.action_space
        self.single_observation_space = self.setup.observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._tokens = self.setup.make_batch(num_envs)

    def action_masks(self) -> Bools:
        """Return which tokens may be written next, shape (num_envs, V), bool."""
        masks: Bools = self._tokens.action_masks().view(np.bool_)  # int8 of 0 and 1, not copied
        return masks

    def step(self, actions: NDArray[np.int64]) -> StepResult:
        """Append a token in every environment, with one call of the engine for all that search."""
        self._check_running()
        running = np.flatnonzero([not episode.finished for episode in self._episodes])
        tokens = self.setup.check(self._tokens, actions, running)
        begun = self._begin_finished()
        episodes, self._episodes = self._episodes, []  # if the engine raises, they cannot go on
        ended = self._tokens.step(tokens, running, self.source.engine)
        self._episodes = episodes
        infos = begun | {i: self._info(i) for i in ended}
        return self._result(infos)

    def _info(self, i: int) -> dict[str, Any]:
        episode = self._episodes[i]
        info = episode.info()
        if episode.finished:
            info["num_masked"] = int(self._tokens.num_masked[i])
        return info

    def _show_new(self, i: int) -> None:
        self._tokens.begin(i, self._episodes[i])

    def _observations(self) -> Observation:
        batch = self._tokens
        return {
            "tokens": batch.tokens.copy(),
            "length": batch.lengths[:, None].copy(),  # (num_envs, 1)
            "roles": batch.roles.copy(),
        }

    def _observation(self, i: int) -> Observation:
        batch = self._tokens
        return {
            "tokens": batch.tokens[i].copy(),
            "length": batch.lengths[i : i + 1].copy(),  # (1,)
            "roles": batch.roles[i].copy(),
        }

    def _batch(self, infos: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
        every = np.ones(self.num_envs, dtype=np.bool_)
        masks = self._tokens.action_masks()
        return super()._batch(infos) | {"action_mask": masks, "_action_mask": every}

    def _batch_final(self, infos: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
        over = np.zeros(self.num_envs, dtype=np.bool_)
        over[list(infos)] = True
        masks = self._tokens.action_masks() * over[:, None]  # zeros for the other environments
        return super()._batch_final(infos) | {"action_mask": masks, "_action_mask": over}
