"""What the single environments share: episodes that begin, are rendered and end."""

from __future__ import annotations

import sys
from abc import abstractmethod
from typing import Any, TypeVar

import gymnasium as gym

from zs_env.envs.gym_interface import check_options, check_progress, reset_info
from zs_env.envs.render import render_episode
from zs_env.episode import Episode
from zs_env.factory import EpisodeFactory, EpisodeStream, as_key

Observation = TypeVar("Observation")
Action = TypeVar("Action")


class EpisodeEnv(gym.Env[Observation, Action]):
    """One episode after another, of a stream that follows from the seed.

    Subclasses say what the running episode is (`episode`, `_show_new`), what the policy sees of it
    (`_observation`), and step.

    Args:
        factory: makes the episodes.
        render_mode: None, ``ansi`` or ``human``.
    """

    def __init__(self, factory: EpisodeFactory, render_mode: str | None) -> None:
        self.factory = factory
        self.render_mode = render_mode
        self.set_progress(0.0)
        self._stream: EpisodeStream | None = None
        self._num_printed = 0

    @property
    @abstractmethod
    def episode(self) -> Episode:
        """The running or just finished episode, with all its details."""

    def set_progress(self, progress: float) -> None:
        """Say how far training is, in [0, 1]: sets the noise probability of later episodes."""
        self.progress = check_progress(progress)
        self.noise_probability = self.factory.noise_probability(self.progress)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; see "Starting State" for the options."""
        super().reset(seed=seed)
        checked = check_options(options, ("progress", "question", "key"))
        question = self.factory.find(checked.get("question"))
        key = as_key(checked.get("key"))
        self.set_progress(checked.get("progress", self.progress))
        if seed is not None or self._stream is None:
            seed = int(self.np_random.integers(2**63)) if seed is None else seed
            self._stream = EpisodeStream(self.factory, seed)
        self._show_new(self._stream.next(self.noise_probability, question, key))
        self._num_printed = 0
        self._print_news()
        return self._observation(), self._info(reset_info(self.episode, self.progress))

    def render(self) -> str | None:
        """The turns taken so far as text with ANSI colours, for render mode ``ansi``."""
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
        self.factory.close()

    @abstractmethod
    def _show_new(self, episode: Episode) -> None:
        """Make ``episode`` the running one."""

    @abstractmethod
    def _observation(self) -> Observation:
        """What the policy sees of the running episode."""

    def _info(self, info: dict[str, Any]) -> dict[str, Any]:
        """``info``, with what every step's info has."""
        return info

    def _result(
        self, info: dict[str, Any]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """What a step returns; prints what it has added, for render mode ``human``."""
        self._print_news()
        episode = self.episode
        return (
            self._observation(),
            episode.reward,
            episode.terminated,
            episode.truncated,
            self._info(info),
        )

    def _print_news(self) -> None:
        """For render mode ``human``: print what has been added to the transcript."""
        if self.render_mode != "human":
            return
        colour = sys.stdout.isatty()
        print(render_episode(self.episode, self._num_printed, colour), end="", flush=True)
        self._num_printed = len(self.episode.segments)
