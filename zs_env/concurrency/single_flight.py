"""Sharing of one answer among equal requests that are under way at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from zs_env.concurrency.event_loop import caught

T = TypeVar("T")


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
        flight = self._flights.get(key)
        if flight is None:
            task = asyncio.get_running_loop().create_task(caught(ask()))
            flight = self._flights[key] = _Flight(task)
            task.add_done_callback(lambda _: self._land(key, task))
        flight.passengers += 1
        try:
            result, error = await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.passengers == 1:
                self._land(key, flight.task)
                flight.task.cancel()
            raise
        finally:
            flight.passengers -= 1
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # without an error there is a result

    def _land(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        """Forget the flight of ``task``, unless a later one has taken its place."""
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]


class _Flight(Generic[T]):
    """Task that is under way, and the number of calls that wait for it."""

    def __init__(self, task: asyncio.Task[tuple[T | None, BaseException | None]]) -> None:
        self.task = task
        self.passengers = 0
