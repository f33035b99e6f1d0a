"""Servers that may be slow, busy or down: limits of waiting, retries, failover, recovery."""

from __future__ import annotations

import asyncio
import math
import random
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from zs_env.concurrency.admission import FIRST_BACKOFF_S, Admission, Server
from zs_env.concurrency.attempts import AttemptError, Refused, Retry
from zs_env.errors import SearchFailure

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """Limits of time and attempts for requests.

    Attributes:
        timeout_s: time limit of one attempt, in seconds.
        deadline_s: time limit of a request, in seconds, waiting and retries included.
        max_attempts: most attempts of one request; an attempt that the server defers with
            Retry-After does not count.
        max_concurrency: most requests under way at the same time, at each server and at all
            together; others wait. A server that is overloaded gets fewer, see
            `zs_env.concurrency.limit`.

    Raises:
        ValueError: a value is not positive and finite.
        TypeError: a time is not a number, or another limit is not an integer.
    """

    timeout_s: float = 60.0
    deadline_s: float = 120.0
    max_attempts: int = 6
    max_concurrency: int = 1024

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
    One that is overloaded gets fewer at a time, and the others as many as before.

    Args:
        servers: name of each server, such as its URL, and the target for ``send``.
        patience: limits of time and attempts.
        secrets: texts that must not be shown in errors, such as keys.
    """

    def __init__(
        self, servers: Sequence[tuple[str, S]], patience: Patience, secrets: Sequence[str] = ()
    ) -> None:
        most = patience.max_concurrency
        self._servers = [Server(name, target, most) for name, target in servers]
        self._admission = Admission(self._servers, most)
        self._patience = patience
        self._secrets = secrets
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
            async with timeout(deadline_s):
                return await self._try(send, reasons)
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

        async def attempt(server: Server[S]) -> tuple[str, T | AttemptError]:
            try:
                return server.name, await self._attempt(server, send, timeout_s)
            except AttemptError as error:
                return server.name, type(error)(error.shown(self._secrets))

        return await asyncio.gather(*map(attempt, self._servers))

    async def _try(self, send: Callable[[S], Coroutine[Any, Any, T]], reasons: list[str]) -> T:
        num_failed = 0
        while num_failed < self._patience.max_attempts:
            server = await self._enter()
            window = server.limit.window
            try:
                result = await self._attempt(server, send, self._patience.timeout_s)
                server.recover()
                return result
            except Refused as refusal:
                raise SearchFailure(self._explain(server, refusal)) from None
            except Retry as retry:
                reasons.append(self._explain(server, retry))
                num_failed += retry.after_s is None  # a deferred attempt has not failed
                if retry.overloaded:
                    server.limit.shrink(window, server.in_flight)
                pause_s = self._let_rest(server, retry, num_failed)
            finally:
                self._admission.leave(server)
            if pause_s:
                await asyncio.sleep(pause_s)
        raise SearchFailure(f"{reasons[-1]}; given up after {num_failed} attempts.")

    async def _enter(self) -> Server[S]:
        """Wait for a place at a server, and as long as it asked to; return the server."""
        server = await self._admission.enter()
        wait_s = server.asked_until - time.monotonic()
        if wait_s > 0:  # only once, because it might ask again and again
            self._admission.leave(server)
            # Requests that wait together should not return together.
            await asyncio.sleep(wait_s + self._jitter.uniform(0.0, FIRST_BACKOFF_S))
            server = await self._admission.enter()
        return server

    async def _attempt(
        self, server: Server[S], send: Callable[[S], Coroutine[Any, Any, T]], timeout_s: float
    ) -> T:
        server.num_requests += 1
        try:
            async with timeout(timeout_s):
                return await send(server.target)
        except asyncio.TimeoutError:
            raise Retry(f"no answer within {timeout_s:g} s", overloaded=True) from None

    def _let_rest(self, server: Server[S], retry: Retry, num_failed: int) -> float:
        """Let ``server`` rest; return the seconds to wait with it, 0 if another is available."""
        if retry.after_s is not None:
            if retry.after_s > self._patience.deadline_s:
                raise SearchFailure(f"{self._explain(server, retry)}: to wait {retry.after_s:g} s.")
            server.put_off(retry.after_s)
            return 0.0
        rest_s = server.rest()
        last = num_failed == self._patience.max_attempts
        if last or any(other.available for other in self._servers):
            return 0.0
        return rest_s * self._jitter.uniform(1.0, 1.5)

    def _explain(self, server: Server[S], error: AttemptError) -> str:
        return f"{server.name}: {error.shown(self._secrets)}"
