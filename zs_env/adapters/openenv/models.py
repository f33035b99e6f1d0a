"""What goes between server and client: actions, observations, states."""

from __future__ import annotations

from typing import Any

from zs_env.adapters.openenv.framework import Action, Observation, State


class ZeroSearchAction(Action):  # type: ignore[misc]  # untyped where it is not installed
    """One turn of the policy."""

    text: str
    """Text that the policy wrote in this turn. Any string will do."""


class ZeroSearchObservation(Observation):  # type: ignore[misc]
    """What the policy reads, beside ``reward``, ``done`` and ``metadata``.

    ``metadata`` is the ``info`` of `zs_env.envs.text_env.ZeroSearchEnv`, after a reset and after a
    step. ``reward`` is None after a reset.
    """

    text: str
    """Prompt after a reset; then what the environment just added, or all text so far."""
    terminated: bool = False
    """Whether the policy has answered."""
    truncated: bool = False
    """Whether turns or context are spent, or the engine failed."""
    search_failed: bool = False
    """Whether the engine failed, which ended the episode: leave it out of the loss."""


class ZeroSearchState(State):  # type: ignore[misc]
    """Where a session stands, beside ``episode_id`` and ``step_count``, the turns taken.

    All but ``step_count``, ``progress`` and ``running`` are None before the first reset.
    """

    progress: float = 0.0
    """Progress of training of the session, in [0, 1]."""
    running: bool = False
    """Whether an episode waits for an action."""
    question_id: str | None = None
    """Id of the question."""
    key: int | None = None
    """Key of noise labels and of what engines draw."""
    noise_probability: float | None = None
    """Noise probability of the episode."""


def plain(info: dict[str, Any]) -> dict[str, Any]:
    """Return ``info`` with numbers of NumPy as those of Python, which JSON can hold."""
    return {name: value.item() if hasattr(value, "item") else value for name, value in info.items()}
