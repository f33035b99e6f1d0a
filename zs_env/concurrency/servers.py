"""Asks servers that may be slow, busy or down: bounded waiting, retries, failover, recovery."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from zs_env.errors import SearchFailure

S = TypeVar("S")
T = TypeVar("T")

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 20.0


@dataclass(frozen=True)
class Patience:
    """How long and how often a request is tried.

    Attributes:
        timeout_s: seconds that one attempt may take.
        deadline_s: seconds after which a request has failed, whatever it was waiting for.
        max_attempts: attempts of one request; one that the server puts off with Retry-After
            does not count.
        max_concurrency: requests that are under way at the same time; others wait.

    Raises:
        ValueError: a value is not positive.
    """

    timeout_s: float = 60.0
    deadline_s: float = 120.0
    max_attempts: int = 6
    max_concurrency: int = 256

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"`{name}` must be a positive number, got {value!r}.")


class Retry(Exception):
    """An attempt failed in a way that another may not.

    Args:
        reason: what went wrong, for the user.
        after_s: seconds that the server asked to wait.
    """

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Refused(Exception):
    """A server refused a request for good: another attempt would meet the same."""


class Servers(Generic[S]):
    """Servers that can all answer the same requests. Belongs to one event loop.

    A request goes to the server with the fewest under way. One that failed rests, at first briefly
    and longer each time, and gets nothing as long as another is available; then one request tries
    whether it has recovered.

    Args:
        servers: by name, such as a URL: what ``send`` needs to reach it.
        patience: how long and how often to try.
        secrets: texts that must not be shown in errors, such as keys.
    """

    def __init__(
        self, servers: Sequence[tuple[str, S]], patience: Patience, secrets: Sequence[str] = ()
    ) -> None:
        self._servers = [_Server(name, target) for name, target in servers]
        self._patience = patience
        self._secrets = [secret for secret in secrets if secret]
        self._slots = asyncio.Semaphore(patience.max_concurrency)
        self._jitter = random.Random()

    @property
    def targets(self) -> list[S]:
        """What reaches each of them."""
        return [server.target for server in self._servers]

    async def ask(self, send: Callable[[S], Coroutine[Any, Any, T]]) -> T:
        """The result of ``send(server)``, which raises `Retry` or `Refused` if it has none.

        Raises:
            SearchFailure: attempts or time are spent, or the request was refused.
        """
        reasons: list[str] = []
        try:
            return await asyncio.wait_for(self._try(send, reasons), self._patience.deadline_s)
        except asyncio.TimeoutError:
            last = reasons[-1] if reasons else f"no answer from {self._names()}"
            raise SearchFailure(
                f"{last}; the deadline of {self._patience.deadline_s:g} s has passed."
            ) from None

    async def _try(self, send: Callable[[S], Coroutine[Any, Any, T]], reasons: list[str]) -> T:
        async with self._slots:
            num_failed = 0
            while num_failed < self._patience.max_attempts:
                server = self._choose()
                try:
                    result = await self._attempt(server, send)
                except Refused as refusal:
                    raise SearchFailure(self._explain(server, refusal)) from None
                except Retry as retry:
                    reasons.append(self._explain(server, retry))
                    num_failed += retry.after_s is None  # one that is asked to wait has not failed
                    await self._back_off(server, retry, num_failed)
                else:
                    server.recover()
                    return result
        raise SearchFailure(f"{reasons[-1]}; given up after {num_failed} attempts.")

    async def _attempt(self, server: _Server[S], send: Callable[[S], Coroutine[Any, Any, T]]) -> T:
        timeout_s = self._patience.timeout_s
        server.in_flight += 1
        try:
            return await asyncio.wait_for(send(server.target), timeout_s)
        except asyncio.TimeoutError:
            raise Retry(f"no answer within {timeout_s:g} s") from None
        finally:
            server.in_flight -= 1

    async def _back_off(self, server: _Server[S], retry: Retry, num_failed: int) -> None:
        """Let ``server`` rest, and wait with it unless another server is available."""
        asked_s = retry.after_s
        rest_s = server.rest(asked_s and min(asked_s, self._patience.deadline_s))
        last = num_failed == self._patience.max_attempts
        if not last and not any(other.available for other in self._servers):
            # Up to half as long again, so that those who failed together do not return together.
            await asyncio.sleep(rest_s * self._jitter.uniform(1.0, 1.5))

    def _choose(self) -> _Server[S]:
        available = [server for server in self._servers if server.available]
        if available:
            return min(available, key=lambda server: server.in_flight)
        return min(self._servers, key=lambda server: server.wakes_at)

    def _explain(self, server: _Server[S], error: Exception) -> str:
        return hide(f"{server.name}: {error}", self._secrets)

    def _names(self) -> str:
        return ", ".join(server.name for server in self._servers)


class _Server(Generic[S]):
    """One of them, and how it is."""

    def __init__(self, name: str, target: S) -> None:
        self.name = name
        self.target = target
        self.in_flight = 0
        self.wakes_at = 0.0
        self._num_failures = 0

    @property
    def available(self) -> bool:
        """Awake; and after a failure, not yet being tried by another request."""
        awake = time.monotonic() >= self.wakes_at
        return awake and not (self._num_failures and self.in_flight)

    def rest(self, asked_s: float | None) -> float:
        """Sleep for ``asked_s`` seconds, or longer with each failure in a row; the seconds."""
        backoff_s = min(FIRST_BACKOFF_S * 2.0**self._num_failures, LONGEST_BACKOFF_S)
        if (
            time.monotonic() >= self.wakes_at
        ):  # those that were under way when it fell asleep fail for the same reason
            self._num_failures += 1
        rest_s = backoff_s if asked_s is None else max(asked_s, FIRST_BACKOFF_S)
        self.wakes_at = max(self.wakes_at, time.monotonic() + rest_s)
        return rest_s

    def recover(self) -> None:
        """It has answered."""
        self._num_failures = 0
        self.wakes_at = 0.0


def hide(text: str, secrets: Sequence[str]) -> str:
    """``text`` with each of ``secrets`` replaced."""
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    return text
