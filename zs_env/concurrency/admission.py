"""Servers with what is under way at each, and the queue of requests for a place at one of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from zs_env.concurrency.limit import AdaptiveLimit

S = TypeVar("S")

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 20.0

DOWN = 5
"""Failures in succession after which a server is asked only if all others are down as well."""


class Server(Generic[S]):
    """Server and its state.

    Args:
        name: name to show.
        target: what requests are sent to.
        max_concurrency: most requests under way at the same time.

    Attributes:
        limit: limit of the requests under way.
        in_flight: number of requests under way.
        num_requests: number of requests so far.
        asked_until: time until which the server asked to wait, by the monotonic clock.
    """

    def __init__(self, name: str, target: S, max_concurrency: int) -> None:
        self.name = name
        self.target = target
        self.limit = AdaptiveLimit(max_concurrency)
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
    def full(self) -> bool:
        """Whether as many requests are under way as the limit allows."""
        return self.in_flight >= self.limit.allowed

    @property
    def rank(self) -> tuple[bool, bool, bool, int, int]:
        """Order in which a request chooses among servers; the least is best."""
        # A server that is down but may be tested again is available, so it is not last.
        available = self.available
        is_down = not available and self._num_failures >= DOWN
        return not available, self.full, is_down, self.in_flight, self.num_requests

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
        self.limit.grow(self.in_flight)
        self._num_failures = self._num_rests = 0
        self._rests_until = 0.0


class Admission(Generic[S]):
    """Queue of requests for a place at a server: first come, first served.

    A place is at the best server of all, so that a request waits for no particular one.

    Args:
        servers: servers to choose from.
        max_concurrency: most requests under way at all servers together.
    """

    def __init__(self, servers: Sequence[Server[S]], max_concurrency: int) -> None:
        self._servers = servers
        self._num_places = max_concurrency
        self._waiting: deque[asyncio.Future[Server[S]]] = deque()

    async def enter(self) -> Server[S]:
        """Wait for a place at a server, take it, and return the server; `leave` gives it back."""
        future: asyncio.Future[Server[S]] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._hand_out()
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled():  # the place was handed over at the same time
                self.leave(future.result())
            raise

    def leave(self, server: Server[S]) -> None:
        """Give back a place at ``server``; whoever waits gets it."""
        server.in_flight -= 1
        self._num_places += 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Give places to those that wait, in order, as far as there is room."""
        while self._waiting:
            if self._waiting[0].done():  # cancelled while it waited
                self._waiting.popleft()
                continue
            server = min(self._servers, key=lambda server: server.rank)
            if server.full or not self._num_places:
                return
            server.in_flight += 1
            self._num_places -= 1
            self._waiting.popleft().set_result(server)
