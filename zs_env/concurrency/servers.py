"""Asks servers that may be slow, busy or down: bounded waiting, retries, failover, recovery."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from zs_env.concurrency.attempts import AttemptError, Refused, Retry
from zs_env.errors import SearchFailure

S = TypeVar("S")
T = TypeVar("T")

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 20.0

DOWN = 5
"""Failures in succession after which a server is asked only if no other is any better."""


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
        ValueError: a value is not positive, or is not finite.
        TypeError: a number of something is no integer.
    """

    timeout_s: float = 60.0
    deadline_s: float = 120.0
    max_attempts: int = 6
    max_concurrency: int = 256

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value in vars(self).items():
            wanted = int if name.startswith("max_") else int | float
            if not isinstance(value, wanted) or isinstance(value, bool):
                kind = "an integer" if wanted is int else "a number of seconds"
                raise TypeError(f"`{name}` must be {kind}, got {value!r}.")
            if not 0 < value < math.inf:
                raise ValueError(f"`{name}` must be positive and finite, got {value!r}.")


class Servers(Generic[S]):
    """Servers that can all answer the same requests. Belongs to one event loop.

    A request goes to the server with the fewest under way. One that failed rests, at first briefly
    and longer each time, and gets nothing as long as another is available; then one request tries
    whether it has recovered. One that asked to wait (Retry-After) gets nothing until then.

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
        self._secrets = secrets
        self._slots = asyncio.Semaphore(patience.max_concurrency)
        self._jitter = random.Random()

    async def ask(self, send: Callable[[S], Coroutine[Any, Any, T]]) -> T:
        """The result of ``send(server)``, which raises `Retry` or `Refused` if it has none.

        Raises:
            SearchFailure: attempts or time are spent, or the request was refused.
        """
        reasons: list[str] = []
        deadline_s = self._patience.deadline_s
        try:
            return await asyncio.wait_for(self._try(send, reasons), deadline_s)
        except asyncio.TimeoutError:
            names = ", ".join(server.name for server in self._servers)
            last = reasons[-1] if reasons else f"no answer from {names}"
            raise SearchFailure(f"{last}; the deadline of {deadline_s:g} s has passed.") from None

    async def try_each(
        self, send: Callable[[S], Coroutine[Any, Any, T]], timeout_s: float
    ) -> list[tuple[str, T | AttemptError]]:
        """Return what comes of asking each of them once, by name.

        Errors have no detail, and their text holds no secret.

        Args:
            send: as for `ask`.
            timeout_s: seconds that each may take.
        """

        async def attempt(server: _Server[S]) -> tuple[str, T | AttemptError]:
            try:
                return server.name, await self._attempt(server, send, timeout_s)
            except AttemptError as error:
                return server.name, type(error)(error.shown(self._secrets))

        return await asyncio.gather(*map(attempt, self._servers))

    async def _try(self, send: Callable[[S], Coroutine[Any, Any, T]], reasons: list[str]) -> T:
        num_failed = 0
        async with self._slots:
            while num_failed < self._patience.max_attempts:
                server = min(self._servers, key=lambda server: server.rank)
                await self._wait_until_welcome(server)
                try:
                    result = await self._attempt(server, send, self._patience.timeout_s)
                except Refused as refusal:
                    raise SearchFailure(self._explain(server, refusal)) from None
                except Retry as retry:
                    reasons.append(self._explain(server, retry))
                    num_failed += retry.after_s is None  # one that is put off has not failed
                    await self._back_off(server, retry, num_failed)
                else:
                    server.recover()
                    return result
        raise SearchFailure(f"{reasons[-1]}; given up after {num_failed} attempts.")

    async def _attempt(
        self, server: _Server[S], send: Callable[[S], Coroutine[Any, Any, T]], timeout_s: float
    ) -> T:
        server.in_flight += 1
        server.num_requests += 1
        try:
            return await asyncio.wait_for(send(server.target), timeout_s)
        except asyncio.TimeoutError:
            raise Retry(f"no answer within {timeout_s:g} s") from None
        finally:
            server.in_flight -= 1

    async def _wait_until_welcome(self, server: _Server[S]) -> None:
        """Wait if ``server`` asks to wait: once, for it might ask again and again."""
        wait_s = server.asked_until - time.monotonic()
        if wait_s > 0:
            # Requests that wait together do not come back together.
            await asyncio.sleep(wait_s + self._jitter.uniform(0.0, FIRST_BACKOFF_S))

    async def _back_off(self, server: _Server[S], retry: Retry, num_failed: int) -> None:
        """Let ``server`` rest, and wait with it unless another server is available."""
        if retry.after_s is not None:
            if retry.after_s > self._patience.deadline_s:
                raise SearchFailure(f"{self._explain(server, retry)}: to wait {retry.after_s:g} s.")
            server.put_off(retry.after_s)
            return
        rest_s = server.rest()
        last = num_failed == self._patience.max_attempts
        if not last and not any(other.available for other in self._servers):
            await asyncio.sleep(rest_s * self._jitter.uniform(1.0, 1.5))

    def _explain(self, server: _Server[S], error: AttemptError) -> str:
        return f"{server.name}: {error.shown(self._secrets)}"


class _Server(Generic[S]):
    """One of them, and how it is."""

    def __init__(self, name: str, target: S) -> None:
        self.name = name
        self.target = target
        self.in_flight = 0
        self.num_requests = 0
        self.asked_until = 0.0
        self._rests_until = 0.0
        self._num_rests = 0
        self._num_failures = 0

    @property
    def available(self) -> bool:
        """Awake and welcoming; and after a failure, not yet being tried by another request."""
        awake = time.monotonic() >= max(self._rests_until, self.asked_until)
        return awake and not (self._num_failures and self.in_flight)

    @property
    def rank(self) -> tuple[bool, bool, int, int]:
        """What a request goes by; the least is best."""
        available = self.available  # which one that is down is when it may be tried again
        is_down = not available and self._num_failures >= DOWN
        return not available, is_down, self.in_flight, self.num_requests

    def put_off(self, seconds: float) -> None:
        """Ask nothing of it for some seconds."""
        until = time.monotonic() + max(seconds, FIRST_BACKOFF_S)
        self.asked_until = max(self.asked_until, until)

    def rest(self) -> float:
        """Let it sleep, longer each time unless it answers in between; for how many seconds."""
        self._num_failures += 1
        now = time.monotonic()
        if now >= self._rests_until:  # those that were under way then fail for the same reason
            rest_s = min(FIRST_BACKOFF_S * 2.0**self._num_rests, LONGEST_BACKOFF_S)
            self._num_rests += 1
            self._rests_until = now + rest_s
        return max(self._rests_until - now, FIRST_BACKOFF_S)

    def recover(self) -> None:
        """It has answered."""
        self._num_failures = self._num_rests = 0
        self._rests_until = 0.0
