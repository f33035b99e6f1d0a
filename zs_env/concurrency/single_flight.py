"""Sharing of one answer among equal requests that are under way at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

from zs_env.concurrency.event_loop import caught

T = TypeVar("T")

_Task: TypeAlias = "asyncio.Task[tuple[T | None, BaseException | None]]"


class SingleFlight(Generic[T]):
    """Sharer of one answer among all calls with the same key that are under way.

    Answers are not kept. It belongs to one event loop.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def run(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of ``ask()``, or of an earlier call with ``key`` that is under way.

        A cancelled call does not affect the others; if it was the last, ``ask()`` is cancelled.
        """
        loop = asyncio.get_running_loop()
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(loop.create_task(caught(ask())))
            flight.task.add_done_callback(partial(self._land, key, flight))
        seat: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()
        flight.seats.append(seat)
        try:
            result, error = await seat
        except asyncio.CancelledError:
            if all(other.cancelled() for other in flight.seats if other is not seat):
                self._forget(key, flight)
                flight.task.cancel()
            raise
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # without an error there is a result

    def _land(self, key: Hashable, flight: _Flight[T], task: _Task[T]) -> None:
        self._forget(key, flight)
        for seat in flight.seats:
            if seat.done():
                continue
            if task.cancelled():
                seat.cancel()
            else:
                seat.set_result(task.result())

    def _forget(self, key: Hashable, flight: _Flight[T]) -> None:
        """Forget ``flight``, unless a later one has taken its place."""
        if self._flights.get(key) is flight:
            del self._flights[key]


class _Flight(Generic[T]):
    """Task that is under way, and a future for each call that waits for it."""

    def __init__(self, task: _Task[T]) -> None:
        self.task = task
        self.seats: list[asyncio.Future[tuple[T | None, BaseException | None]]] = []
