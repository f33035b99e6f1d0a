"""Asks once what is asked several times at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from zs_env.concurrency.event_loop import caught

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Shares one answer among all calls that ask for the same while it is under way.

    Nothing is kept once it is answered. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def run(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of ``ask()``, or of an earlier call for ``key`` that has not ended.

        A call that is cancelled leaves the others alone; the last one ends the flight.
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
        return result  # type: ignore[return-value]  # there is one where there is no error

    def _land(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        """Forget the flight, unless a later one has taken its place."""
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]


class _Flight(Generic[T]):
    """One question on its way, and how many wait for it."""

    def __init__(self, task: asyncio.Task[tuple[T | None, BaseException | None]]) -> None:
        self.task = task
        self.passengers = 0
