"""Collection of requests that come at about the same time into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from zs_env.concurrency.event_loop import caught
from zs_env.errors import EngineContractError

Q = TypeVar("Q")
A = TypeVar("A")

GATHER_S = 0.002
"""Seconds that the first request waits for others: longer than a burst takes to arrive."""


class Batcher(Generic[Q, A]):
    """Collector of single requests into batches. It belongs to one event loop.

    Args:
        ask: answers a batch, in order. An error that it raises is raised for each request.
        max_size: most requests of a batch.
        max_in_flight: most batches under way at the same time; further requests wait.

    Raises:
        ValueError: ``max_size`` or ``max_in_flight`` is less than 1.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[Q]], Coroutine[Any, Any, Sequence[A]]],
        *,
        max_size: int,
        max_in_flight: int,
    ) -> None:
        if max_size < 1 or max_in_flight < 1:
            raise ValueError(
                f"batches must have room for 1 request, and 1 must be under way, got {max_size} "
                f"and {max_in_flight}."
            )
        self._ask = ask
        self._max_size = max_size
        self._slots = max_in_flight
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, request: Q) -> A:
        """Return the answer to ``request``."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        self._waiting.append((request, future))
        if self._timer is None:
            self._timer = loop.call_later(GATHER_S, self._send)
        return await future

    def _send(self) -> None:
        """Send the waiting requests in batches, as far as there are slots."""
        self._timer = None
        self._waiting = [pair for pair in self._waiting if not pair[1].done()]
        while self._waiting and self._slots:
            batch = self._waiting[: self._max_size]
            del self._waiting[: self._max_size]
            self._slots -= 1
            task = asyncio.get_running_loop().create_task(self._answer(batch))
            self._tasks.add(task)  # the loop itself holds only weak references
            task.add_done_callback(self._finish)

    async def _answer(self, batch: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        answers, error = await caught(self._ask_checked([request for request, _ in batch]))
        for position, (_, future) in enumerate(batch):
            if future.done():  # the request was cancelled
                continue
            if answers is None:
                future.set_exception(error or RuntimeError("a batch had no answers"))
            else:
                future.set_result(answers[position])

    async def _ask_checked(self, requests: Sequence[Q]) -> Sequence[A]:
        answers = await self._ask(requests)
        if not isinstance(answers, list | tuple) or len(answers) != len(requests):
            got = len(answers) if isinstance(answers, list | tuple) else type(answers).__name__
            raise EngineContractError(
                f"a batch of {len(requests)} must get a list of as many answers, got {got}."
            )
        return answers

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots += 1
        if self._timer is None:
            self._send()
