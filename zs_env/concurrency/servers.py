"""Servers that may be slow, busy or down: limits of waiting, retries, failover, recovery."""

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
"""Failures in succession after which a server is asked only if all others are down as well."""


@dataclass(frozen=True)
class Patience:
    """Limits of time and attempts for requests.

    Attributes:
        timeout_s: time limit of one attempt, in seconds.
        deadline_s: time limit of a request, in seconds, waiting and retries included.
        max_attempts: most attempts of one request; an attempt that the server defers with
            Retry-After does not count.
        max_concurrency: most requests under way at the same time; others wait.

    Raises:
        ValueError: a value is not positive and finite.
        TypeError: a time is not a number, or another limit is not an integer.
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
    """Servers that can all answer the same requests. They belong to one event loop.

    A request goes to the server with the fewest requests under way. A server that failed rests,
    longer each time, and gets no request while another server is available; then a single request
    tests whether it has recovered. A server that asked to wait (Retry-After) gets none until then.

    Args:
        servers: name of each server, such as its URL, and the target for ``send``.
        patience: limits of time and attempts.
        secrets: texts that must not be shown in errors, such as keys.
    """

    def __init__(
        self, servers: Sequence[tuple[str, S]], patience: Patience, secrets: Sequence[str] = ()
    ) -> None:
        self._servers = [_Server(name, target) for name, target in servers]
        self._patience = patience
        self._secrets = secrets
        self._slots = asyncio.Semaphore(patience.max_concurrency)
        self._jitter = random.Random()  # waits only: no result depends on it

    async def ask(self, send: Callable[[S], Coroutine[Any, Any, T]]) -> T:
        """Return the result of ``send(target)``, tried on the servers in turn.

        Args:
            send: asks one server; it raises `Retry` or `Refused` if that fails.

        Raises:
            SearchFailure: attempts or time are used up, or the request was refused.
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
        """Ask each server once, and return (name, result or error) of each.

        Errors have no detail, and their text holds no secret.

        Args:
            send: as for `ask`.
            timeout_s: time limit of each server, in seconds.
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
                    num_failed += retry.after_s is None  # a deferred attempt has not failed
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
        """Wait as long as ``server`` asked to; only once, because it might ask again and again."""
        wait_s = server.asked_until - time.monotonic()
        if wait_s > 0:
            # Requests that wait together should not return together.
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
    """Server and its state."""

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
        """Whether the server takes requests; after a failure, only one at a time."""
        awake = time.monotonic() >= max(self._rests_until, self.asked_until)
        return awake and not (self._num_failures and self.in_flight)

    @property
    def rank(self) -> tuple[bool, bool, int, int]:
        """Order in which a request chooses among servers; the least is best."""
        # A server that is down but may be tested again is available, so it is not last.
        available = self.available
        is_down = not available and self._num_failures >= DOWN
        return not available, is_down, self.in_flight, self.num_requests

    def put_off(self, seconds: float) -> None:
        """Send no request to the server for ``seconds``."""
        until = time.monotonic() + max(seconds, FIRST_BACKOFF_S)
        self.asked_until = max(self.asked_until, until)

    def rest(self) -> float:
        """Let the server rest, longer after each failure in succession; return the seconds left."""
        self._num_failures += 1
        now = time.monotonic()
        if now >= self._rests_until:  # failures during a rest have the same cause
            rest_s = min(FIRST_BACKOFF_S * 2.0**self._num_rests, LONGEST_BACKOFF_S)
            self._num_rests += 1
            self._rests_until = now + rest_s
        return max(self._rests_until - now, FIRST_BACKOFF_S)

    def recover(self) -> None:
        """Reset the state: the server has answered."""
        self._num_failures = self._num_rests = 0
        self._rests_until = 0.0
