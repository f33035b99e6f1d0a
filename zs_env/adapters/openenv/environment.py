"""The environment of one session of an OpenEnv server."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import numpy as np
from gymnasium.error import ResetNeeded

from zs_env.adapters.openenv.framework import Environment, EnvironmentMetadata
from zs_env.adapters.openenv.models import (
    ZeroSearchAction,
    ZeroSearchObservation,
    ZeroSearchState,
    plain,
)
from zs_env.checks import as_integer
from zs_env.engines import checked_asearch
from zs_env.envs.gym_interface import observation_of
from zs_env.envs.streams import EpisodeStreams
from zs_env.episode import Episode
from zs_env.episodes import EpisodeSource

DESCRIPTION = "Question answering with a search engine, real or simulated, as in ZeroSearch."


class ServedEpisodes:
    """What the sessions of a server share: the source of episodes, and the count of those played.

    Args:
        source: source of the episodes, with questions, engine and rules.
        observation: what the policy sees: ``delta`` or ``transcript``.
        total_episodes: number of finished episodes over which progress rises from 0 to 1, for
            trainers that do not send it; None leaves it at 0 until a session sets it.

    Raises:
        ValueError: ``total_episodes`` is less than 1.
    """

    def __init__(
        self, source: EpisodeSource, observation: str = "delta", total_episodes: int | None = None
    ) -> None:
        self.source = source
        self.observation = observation
        self.total_episodes = (
            None if total_episodes is None else as_integer("total_episodes", total_episodes, 1)
        )
        self.num_finished = 0

    @property
    def progress(self) -> float | None:
        """Progress that follows from the count, in [0, 1]; None if nothing is counted."""
        if self.total_episodes is None:
            return None
        return min(1.0, self.num_finished / self.total_episodes)


class ZeroSearchEnvironment(Environment):  # type: ignore[misc]  # untyped where not installed
    """Episodes of one session, as `zs_env.envs.text_env.ZeroSearchEnv` plays them.

    `reset` takes a seed, which fixes the question and the key, and the reset options of that class:
    ``question``, ``key``, ``progress`` and ``noise_probability``.

    Args:
        episodes: what all sessions share.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, episodes: ServedEpisodes) -> None:
        super().__init__()
        self._episodes = episodes
        self._streams = EpisodeStreams(episodes.source, 1)
        self._told_progress = False
        self._episode: Episode | None = None
        self._episode_id: str | None = None
        self._rng = np.random.default_rng()

    async def reset_async(
        self, seed: int | None = None, episode_id: str | None = None, **options: Any
    ) -> ZeroSearchObservation:
        """Begin an episode.

        Args:
            seed: seed of the session's stream of questions and keys; None goes on with it.
            episode_id: id to be shown in the state; by default a random one.
            options: reset options.

        Raises:
            ValueError: an option is unknown or out of its range; then nothing has changed.
            TypeError: an option has the wrong type.
        """
        counted = self._episodes.progress
        told = self._told_progress or "progress" in options
        if counted is not None and not told:
            options["progress"] = counted
        episode = self._streams.reset({0: seed}, options, self._fresh_seed)[0]
        self._told_progress = told
        self._episode = episode
        self._episode_id = episode_id or uuid4().hex
        return self._observe(episode, self._streams.reset_info(0, episode), None)

    async def step_async(
        self, action: ZeroSearchAction, timeout_s: float | None = None, **options: Any
    ) -> ZeroSearchObservation:
        """Take one turn of the policy, and answer its search.

        Args:
            action: what the policy wrote.
            timeout_s: not used: the engine limits its own time, and says so if it gives up.
            options: not used.

        Raises:
            ResetNeeded: no episode is running.
            EngineContractError: the engine broke its contract; the episode cannot go on.
        """
        episode = self._episode
        if episode is None or episode.finished:
            raise ResetNeeded("Call reset() before step(): no episode is running.")
        self._episode = None  # if the engine raises, the episode cannot go on
        request = episode.act(action.text)
        if request is not None:
            episode.observe(await checked_asearch(self._episodes.source.engine, request))
        self._episode = episode
        self._episodes.num_finished += episode.finished
        return self._observe(episode, episode.info(), episode.reward)

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, **options: Any
    ) -> ZeroSearchObservation:
        """Begin an episode, in synchronous code; see `reset_async`."""
        return asyncio.run(self.reset_async(seed, episode_id, **options))

    def step(
        self, action: ZeroSearchAction, timeout_s: float | None = None, **options: Any
    ) -> ZeroSearchObservation:
        """Take one turn of the policy, in synchronous code; see `step_async`."""
        return asyncio.run(self.step_async(action, timeout_s, **options))

    @property
    def state(self) -> ZeroSearchState:
        """Where the session stands; also before the first reset."""
        episode = self._episode
        state = ZeroSearchState(episode_id=self._episode_id, progress=self._streams.progress[0])
        if episode is not None:
            state.step_count = episode.turn
            state.running = not episode.finished
            state.question_id = episode.question.id
            state.key = episode.key
            state.noise_probability = episode.noise_probability
        return state

    def get_metadata(self) -> EnvironmentMetadata:
        """Return name and description."""
        return EnvironmentMetadata(name="ZeroSearch-v0", description=DESCRIPTION)

    def _observe(
        self, episode: Episode, info: dict[str, Any], reward: float | None
    ) -> ZeroSearchObservation:
        return ZeroSearchObservation(
            text=observation_of(episode, self._episodes.observation),
            terminated=episode.terminated,
            truncated=episode.truncated,
            search_failed=episode.search_failed,
            done=episode.finished,
            reward=reward,
            metadata=plain(info),
        )

    def _fresh_seed(self) -> int:
        return int(self._rng.integers(2**63))
