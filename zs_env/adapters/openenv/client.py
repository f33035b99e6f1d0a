"""Client of the server: one session, whose episodes follow one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zs_env.adapters.openenv.framework import EnvClient, StepResult, check_version
from zs_env.adapters.openenv.models import (
    ZeroSearchAction,
    ZeroSearchObservation,
    ZeroSearchState,
)

MESSAGE_TIMEOUT_S = 300.0
"""Time limit of an answer: more than an engine takes before it gives up."""

CONNECT_TIMEOUT_S = 120.0
"""Time limit of a connection, which waits while hundreds of others are made."""

PING_TIMEOUT_S = 300.0
"""Time limit of the answer to a ping: a busy server, or machine, is no dead one."""


class ZeroSearchClient(EnvClient):  # type: ignore[misc]  # untyped where it is not installed
    """Client of one session.

    Actions are texts or `ZeroSearchAction`. Observations are `ZeroSearchObservation`. With
    ``.sync()`` the same without ``await``.

    Example:
        >>> with ZeroSearchClient("http://127.0.0.1:8000").sync() as env:
        ...     result = env.reset(seed=0)
        ...     while not result.done:
        ...         result = env.step(policy(result.observation.text))

    Args:
        base_url: URL of the server.
        message_timeout_s: time limit of an answer, in seconds.
        connect_timeout_s: time limit of the connection, in seconds.
        options: more arguments of OpenEnv's client.

    Raises:
        DependencyVersionError: OpenEnv has another version than the tested one.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        message_timeout_s: float = MESSAGE_TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        **options: Any,
    ) -> None:
        check_version()
        super().__init__(
            base_url,
            message_timeout_s=message_timeout_s,
            connect_timeout_s=connect_timeout_s,
            **{"websocket_ping_timeout_s": PING_TIMEOUT_S, **options},
        )

    def _step_payload(self, action: str | ZeroSearchAction) -> dict[str, Any]:
        text = action if isinstance(action, str) else getattr(action, "text", None)
        if not isinstance(text, str):
            raise TypeError(
                f"an action must be a str, the text of one turn, got {type(action).__name__}."
            )
        # JSON has no place for half of a surrogate pair.
        return {"text": text.encode("utf-8", "replace").decode()}

    def _parse_result(self, payload: Mapping[str, Any]) -> StepResult[ZeroSearchObservation]:
        reward, done = payload.get("reward"), bool(payload.get("done"))
        observation = ZeroSearchObservation(**payload["observation"], reward=reward, done=done)
        return StepResult(observation, reward, done, observation.metadata)

    def _parse_state(self, payload: Mapping[str, Any]) -> ZeroSearchState:
        return ZeroSearchState(**payload)
