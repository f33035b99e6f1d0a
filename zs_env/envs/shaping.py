"""Potential-based shaping: intermediate rewards that leave the best policy as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from zs_env.episode import Episode

Potential = Callable[[Any], float]


def golden_answer_seen(episode: Episode) -> float:
    """Return 1.0 once a document that was shown contained a golden answer, before that 0.0."""
    return float(episode.golden_answer_seen)


POTENTIALS: dict[str, Potential] = {"golden_answer_seen": golden_answer_seen}


class PotentialShaping(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Wrapper that adds ``gamma * potential(after) - potential(before)`` to each step's reward.

    Without it rewards come only at the end, as in the paper. The added terms sum, discounted, to
    minus the potential of the start, whatever the policy does. So the returns of all policies
    change by the same amount, and the best policy stays the best (Ng, Harada and Russell 1999,
    theorem 1; values V become V - potential).

    This needs a potential of 0 where an episode ends (Grzes 2017). Whether truncation is such an
    end depends on the trainer. A truncated episode of this package has earned 0.0. A trainer that
    takes this as its return, as those in ``agents/`` do, needs a potential of 0 there too:
    otherwise finding a document and never answering would pay. A trainer that adds the discounted
    value of the last state of a truncated episode to its reward, as Stable-Baselines3 does,
    continues from that state, and this value already lacks the potential: it needs
    ``bootstraps=True``, which keeps the potential there.

    Args:
        env: an environment with ``episode``, such as `ZeroSearchTokenEnv`, wrapped or not.
        gamma: discount of the trainer, in [0, 1]. With another one the best policy may change.
        potential: a name in `POTENTIALS`, or a function of ``env.unwrapped.episode``. It must
            depend on nothing else, and give equal numbers for equal episodes.
        bootstraps: whether the trainer adds the value of the last state of a truncated episode.

    Raises:
        ValueError: ``gamma`` is out of its range, or no potential has that name.
        TypeError: the environment has no ``episode``.

    Example:
        >>> env = gym.make("ZeroSearchToken-v1", world_size="tiny")
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
        if "episode" not in dir(env.unwrapped):  # `hasattr` would call it, before the first reset
            raise TypeError(
                f"{type(env.unwrapped).__name__} has no `episode`: wrap an environment of zs_env."
            )
        self._gamma = gamma
        self._potential = _find_potential(potential)
        self._bootstraps = bootstraps

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, and shape the reward."""
        before = self._judge()
        observation, reward, terminated, truncated, info = self.env.step(action)
        is_end = terminated or (truncated and not self._bootstraps)
        after = 0.0 if is_end else self._judge()  # see the class: the potential of an end is 0
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
