"""Potential-based shaping: rewards on the way that leave the best policy as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from zs_env.episode import Episode

Potential = Callable[[Any], float]


def golden_answer_seen(episode: Episode) -> float:
    """1.0 once a document that was shown contained a golden answer, before that 0.0."""
    return float(episode.golden_answer_seen)


POTENTIALS: dict[str, Potential] = {"golden_answer_seen": golden_answer_seen}


class PotentialShaping(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Adds ``gamma * potential(after) - potential(before)`` to the reward of each step.

    No environment does so by itself: rewards come at the end, as in the paper. What is added sums
    up, discounted, to minus the potential of the start, whatever the policy does. So the returns
    of all policies move alike, and the best policy stays the best (Ng, Harada and Russell 1999,
    theorem 1; values V become V - potential).

    That needs a potential of 0 where an episode ends (Grzes 2017), and what the end is, is decided
    by what the trainer maximises. A truncated episode of this package has earned 0.0 for good, and
    a trainer that takes it so, as those in ``agents/`` do, needs 0 there too: else it would pay to
    find a document and never answer. A trainer that adds the discounted value of the last state of
    a truncated episode to its reward, as Stable-Baselines3 does, goes on from that state, and the
    value it adds already lacks its potential: it needs ``bootstraps=True``, which keeps it.

    Args:
        env: an environment with ``episode``, such as `ZeroSearchTokenEnv`, wrapped or not.
        gamma: the discount of the trainer, in [0, 1]. With another one the best policy may change.
        potential: a name in `POTENTIALS`, or a function of ``env.unwrapped.episode``. It must
            depend on nothing else, and give equal numbers for equal episodes.
        bootstraps: whether the trainer values the last state of a truncated episode.

    Raises:
        ValueError: ``gamma`` is out of its range, or no potential has that name.
        TypeError: the environment has no ``episode``.

    Example:
        >>> env = gym.make("ZeroSearchToken-v0", world_size="tiny")
        >>> env = PotentialShaping(env, gamma=0.99, bootstraps=True)
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        gamma: float,
        potential: str | Potential = "golden_answer_seen",
        bootstraps: bool = False,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, gamma=gamma, potential=potential, bootstraps=bootstraps
        )
        super().__init__(env)
        if not 0.0 <= gamma <= 1.0:
            raise ValueError(f"`gamma` must be in [0, 1], got {gamma}.")
        if "episode" not in dir(env.unwrapped):
            raise TypeError(f"{type(env.unwrapped).__name__} has no `episode` to judge.")
        self._gamma = gamma
        self._potential = _find_potential(potential)
        self._bootstraps = bootstraps

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, and shape the reward."""
        before = self._judge()
        observation, reward, terminated, truncated, info = self.env.step(action)
        is_end = terminated or (truncated and not self._bootstraps)
        after = 0.0 if is_end else self._judge()
        shaped = float(reward) + self._gamma * after - before
        return observation, shaped, terminated, truncated, info

    def _judge(self) -> float:
        episode: Any = getattr(self.env.unwrapped, "episode")  # noqa: B009  (no part of gym.Env)
        return float(self._potential(episode))


def _find_potential(potential: str | Potential) -> Potential:
    if callable(potential):
        return potential
    if potential not in POTENTIALS:
        raise ValueError(
            f"`potential` must be one of {', '.join(POTENTIALS)}, or a function, got {potential!r}."
        )
    return POTENTIALS[potential]
