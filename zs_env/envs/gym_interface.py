"""Observations of episodes, and checks of actions, as Gymnasium has them."""

from __future__ import annotations

from typing import Any

from gymnasium.error import InvalidAction

from zs_env.episode import Episode


def observation_of(episode: Episode, observation: str) -> str:
    """Return what the policy sees of ``episode``: the ``transcript``, or the ``delta``."""
    return episode.transcript if observation == "transcript" else episode.delta


def check_action(action: Any) -> str:
    """Check that ``action`` is a string, and return it.

    Raises:
        InvalidAction: it is not a string.
    """
    if not isinstance(action, str):
        raise InvalidAction(
            f"an action must be a str, the text of one turn, got {type(action).__name__}."
        )
    return action


def check_actions(actions: Any, count: int, expected: str) -> None:
    """Check that ``actions`` are a sequence of ``count`` values, of any types.

    Raises:
        ValueError: they are not; the message names what was ``expected``.
    """
    sized = hasattr(actions, "__len__")
    if isinstance(actions, str) or not sized or len(actions) != count:
        length = f" of length {len(actions)}" if sized else ""
        raise ValueError(f"`actions` must be {expected}, got {type(actions).__name__}{length}.")
