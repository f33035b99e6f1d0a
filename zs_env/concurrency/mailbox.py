"""Calls between threads with event loops: those that come together wake a loop only once.

Each wake-up is a write to a socket, which lets another thread run: a thread that wakes a busy one
for each of a thousand requests waits for it a thousand times.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class Mailbox:
    """Calls that other threads leave for an event loop, in order."""

    _all: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._calls: deque[Callable[[], object]] = deque()
        self._woken = False

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Mailbox:
        """Return the mailbox of ``loop``; called in its thread, or before it runs."""
        found = cls._all.get(loop)
        if found is None:
            found = cls._all[loop] = cls(loop)
        return found

    def post(self, call: Callable[[], object]) -> None:
        """Have the loop make ``call``, from any thread. Nothing happens if the loop was closed."""
        self._calls.append(call)
        loop = self._loop()
        if not self._woken and loop is not None:
            self._woken = True
            with suppress(RuntimeError):  # closed
                loop.call_soon_threadsafe(self._open)

    def _open(self) -> None:
        self._woken = False  # before the calls are taken: whoever is later wakes the loop again
        loop = asyncio.get_running_loop()
        while self._calls:
            loop.call_soon(self._calls.popleft())


async def run_elsewhere(mailbox: Mailbox, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` on the loop of ``mailbox`` and return its result; awaited on any other.

    Cancelling this cancels ``coroutine``.

    Args:
        mailbox: mailbox of a loop that runs in another thread.
        coroutine: see `zs_env.concurrency.event_loop.caught`.
    """
    loop = asyncio.get_running_loop()
    here = Mailbox.of(loop)
    answer: asyncio.Future[T] = loop.create_future()
    tasks: list[asyncio.Task[T]] = []

    def start() -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        tasks.append(task)
        task.add_done_callback(lambda task: here.post(partial(_give, task, answer)))

    def cancel() -> None:
        for task in tasks:
            task.cancel()

    mailbox.post(start)
    try:
        return await answer
    except asyncio.CancelledError:
        mailbox.post(cancel)
        raise


async def wait_for_thread(future: Future[T]) -> T:
    """Return the result of ``future``, which another thread sets. Cancelling this cancels it."""
    loop = asyncio.get_running_loop()
    mailbox = Mailbox.of(loop)
    answer: asyncio.Future[T] = loop.create_future()
    future.add_done_callback(lambda future: mailbox.post(partial(_give, future, answer)))
    try:
        return await answer
    except asyncio.CancelledError:
        future.cancel()
        raise


def _give(task: asyncio.Task[T] | Future[T], answer: asyncio.Future[T]) -> None:
    """Pass on the result of ``task``, unless nobody waits for it any longer."""
    if answer.done():
        return
    if task.cancelled():
        answer.cancel()
    elif (error := task.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())
