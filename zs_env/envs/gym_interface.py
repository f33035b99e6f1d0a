"""How an episode is shown to Gymnasium, and what actions may be."""

from __future__ import annotations

from typing import Any

from gymnasium.error import InvalidAction

from zs_env.episode import Episode


def observation_of(episode: Episode, observation: str) -> str:
    """Return what the policy sees of ``episode``: the ``transcript``, or the ``delta``."""
    return episode.transcript if observation == "transcript" else episode.delta


def check_action(action: Any) -> str:
    """Return ``action`` if it is a string, however odd.

    Raises:
        InvalidAction: it is not.
    """
    if not isinstance(action, str):
        raise InvalidAction(
            f"an action must be a str, the text of one turn, got {type(action).__name__}."
        )
    return action


def check_actions(actions: Any, count: int, expected: str) -> None:
    """Refuse ``actions`` unless they are a sequence of ``count`` values, of whatever types.

    Raises:
        ValueError: they are not; the message says what was ``expected``.
    """
    sized = hasattr(actions, "__len__")
    if isinstance(actions, str) or not sized or len(actions) != count:
        length = f" of length {len(actions)}" if sized else ""
        raise ValueError(f"`actions` must be {expected}, got {type(actions).__name__}{length}.")
