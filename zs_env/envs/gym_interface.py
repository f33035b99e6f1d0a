"""What the environments share: how an episode is shown to Gymnasium, and checks of arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

from gymnasium.error import InvalidAction

from zs_env.episode import Episode

OBSERVATIONS = ("transcript", "delta")


def observation_of(episode: Episode, observation: str) -> str:
    """What the policy sees of ``episode``."""
    return episode.transcript if observation == "transcript" else episode.delta


def reset_info(episode: Episode, progress: float) -> dict[str, Any]:
    """The info of a reset that began ``episode``."""
    return {
        "question_id": episode.question.id,
        "progress": progress,
        "noise_probability": episode.noise_probability,
    }


def check_observation(observation: str) -> str:
    """``observation`` if it is one of `OBSERVATIONS`; ValueError if not."""
    if observation not in OBSERVATIONS:
        raise ValueError(
            f"`observation` must be one of {', '.join(OBSERVATIONS)}, got {observation!r}."
        )
    return observation


def check_action(action: str) -> str:
    """``action`` if it is a string, however odd; InvalidAction if not."""
    if not isinstance(action, str):
        raise InvalidAction(
            f"an action must be a str, the text of one turn, got {type(action).__name__}."
        )
    return action


def check_options(options: Mapping[str, Any] | None, allowed: Collection[str]) -> Mapping[str, Any]:
    """``options``, or none; ValueError if one is not ``allowed``."""
    options = options or {}
    if unknown := [name for name in options if name not in allowed]:
        raise ValueError(
            f"unknown reset options {', '.join(unknown)}; expected {', '.join(allowed)}."
        )
    return options


def check_progress(progress: Any) -> float:
    """``progress`` as a float; TypeError if it is no number."""
    if not isinstance(progress, Real):
        raise TypeError(f"`progress` must be a number in [0, 1], got {progress!r}.")
    return float(progress)
