"""Base of the single environments: reset, rendering and the results of steps."""

from __future__ import annotations

import sys
from abc import abstractmethod
from typing import Any, TypeVar

import gymnasium as gym

from zs_env.envs.render import render_episode
from zs_env.envs.streams import EpisodeStreams
from zs_env.episode import Episode
from zs_env.episodes import EpisodeSource

Observation = TypeVar("Observation")
Action = TypeVar("Action")


class EpisodeEnv(gym.Env[Observation, Action]):
    """Environment that plays the episodes of one stream, which follows from the seed.

    Subclasses hold the running episode (`episode`, `_show_new`), show it to the policy
    (`_observation`), and implement `step`.

    Args:
        source: source of the episodes.
        render_mode: None, ``ansi`` or ``human``.
    """

    def __init__(self, source: EpisodeSource, render_mode: str | None) -> None:
        self.source = source
        self.render_mode = render_mode
        self._streams = EpisodeStreams(source, 1)
        self._num_printed = 0

    @property
    @abstractmethod
    def episode(self) -> Episode:
        """The running or just finished episode, with all its details."""

    @property
    def progress(self) -> float:
        """Progress of training, in [0, 1]."""
        return self._streams.progress[0]

    @property
    def noise_probability(self) -> float:
        """Noise probability of the episodes that begin next."""
        return self._streams.noise[0]

    def set_progress(self, progress: float) -> None:
        """Set the progress of training, in [0, 1]; later episodes get its noise probability."""
        self._streams.set_progress(progress)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; see "Starting State" for the options."""
        super().reset(seed=seed)  # seeds `np_random`, which seeds a stream without a seed
        episode = self._streams.reset({0: seed}, options, self._fresh_seed)[0]
        self._show_new(episode)
        self._num_printed = 0
        self._print_news()
        return self._observation(), self._info(self._streams.reset_info(0, episode))

    def render(self) -> str | None:
        """Return the transcript so far with ANSI colours (``ansi``), or print it (``human``)."""
        if self.render_mode is None:
            gym.logger.warn(
                "render() was called without a render mode: make the environment with "
                "render_mode='ansi' or render_mode='human'."
            )
        if self.render_mode == "ansi":
            return render_episode(self.episode)
        self._print_news()
        return None

    def close(self) -> None:
        """Close the engine, if the environment made it."""
        self.source.close()

    @abstractmethod
    def _show_new(self, episode: Episode) -> None:
        """Make ``episode`` the running one."""

    @abstractmethod
    def _observation(self) -> Observation:
        """Return what the policy sees of the running episode."""

    def _info(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return ``info`` with the entries that every info has."""
        return info

    def _result(
        self, info: dict[str, Any]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Return what a step returns; for render mode ``human``, print what it has added."""
        self._print_news()
        episode = self.episode
        return (
            self._observation(),
            episode.reward,
            episode.terminated,
            episode.truncated,
            self._info(info),
        )

    def _fresh_seed(self) -> int:
        return int(self.np_random.integers(2**63))

    def _print_news(self) -> None:
        """Print what has been added to the transcript, for render mode ``human``."""
        if self.render_mode != "human":
            return
        colour = sys.stdout.isatty()
        print(render_episode(self.episode, self._num_printed, colour), end="", flush=True)
        self._num_printed = len(self.episode.segments)
