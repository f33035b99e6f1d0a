"""Event loop of all engines, in a thread of its own.

Clients and locks of asyncio belong to the loop they were first used on: a new loop for each batch
would break them, or cost a new connection for each search. And a loop of its own goes on waiting
for servers while a policy computes in another thread.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import suppress
from typing import Any, Generic, TypeVar

from zs_env.concurrency.mailbox import Mailbox, run_elsewhere

T = TypeVar("T")

CLOSING_S = 1.0
"""Seconds that the end of a program waits for each object that was not closed."""


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` on the engines' loop from synchronous code, and return its result.

    It works in a notebook too, where a loop is running. Errors are raised here; an interrupt of the
    caller cancels the coroutine.

    Raises:
        RuntimeError: called on the engines' loop itself, which would wait for itself for ever.
    """
    background = _Background.get()
    if threading.current_thread() is background.thread:
        coroutine.close()
        raise RuntimeError("await `asearch` in asynchronous code: `search` would wait for itself.")
    future = asyncio.run_coroutine_threadsafe(caught(coroutine), background.loop)
    try:
        result, error = future.result()
    except BaseException:
        future.cancel()
        raise
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # without an error there is a result


async def on_engine_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` on the engines' loop and return its result; awaited on any loop."""
    background = _Background.get()
    if asyncio.get_running_loop() is background.loop:
        return await coroutine
    result, error = await run_elsewhere(background.mailbox, caught(coroutine))
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def engine_loop() -> asyncio.AbstractEventLoop:
    """Return the loop of all engines of this process, which runs in a thread of its own."""
    return _Background.get().loop


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run ``function`` in a new daemon thread and return its result."""
    # A program waits for the threads of a pool when it ends: Ctrl-C would not end a program whose
    # engine hangs.
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def give(result: T | None, error: BaseException | None) -> None:
        if future.done():  # the wait was cancelled
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = function(*args)
        except StopIteration as raised:  # a future cannot hold it
            error = RuntimeError(f"{function} raised {raised!r}")
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(give, result, error)

    threading.Thread(target=work, name="zs_env worker", daemon=True).start()
    return await future


async def caught(
    coroutine: Coroutine[Any, Any, T],
) -> tuple[T | None, BaseException | None]:
    """Await ``coroutine`` and return its result, or the error that it raised.

    Every task on the engines' loop must be wrapped in this: SystemExit or KeyboardInterrupt would
    end the loop's thread.
    """
    try:
        return await coroutine, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error


async def work_together(work: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    """Run ``work`` ``count`` times side by side; the first error ends all, and is raised."""
    workers = {asyncio.ensure_future(caught(work())) for _ in range(count)}
    left = workers
    try:
        while left:
            ended, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for error in [worker.result()[1] for worker in ended]:
                if error is not None:
                    raise error
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


class PerLoop(Generic[T]):
    """Holder of one object for each event loop, such as a client, made at first use.

    After a fork there is a new loop, and a new object is made for it. Pickling leaves the objects
    out. Objects that were not closed are freed with the holder, and at the end of the program.

    Args:
        make: makes the object; called on the loop.
        close: frees the object; None if there is nothing to free.
    """

    _all: weakref.WeakSet[PerLoop[Any]] = weakref.WeakSet()

    def __init__(
        self, make: Callable[[], T], close: Callable[[T], Awaitable[None]] | None = None
    ) -> None:
        self._make = make
        self._close = close
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T] = (
            weakref.WeakKeyDictionary()
        )
        if close is not None:
            PerLoop._all.add(self)
            weakref.finalize(self, _free_all, self._made, close).atexit = False

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Pickle as the arguments, without the objects."""
        return type(self), (self._make, self._close)

    def get(self) -> T:
        """Return the object of the running loop."""
        loop = asyncio.get_running_loop()
        made = self._made.get(loop)
        if made is None:
            made = self._made[loop] = self._make()
        return made

    def close(self) -> None:
        """Free the object of the engines' loop, if there is one. May be called twice."""
        if self._made:
            run_to_end(self._free())

    async def _free(self) -> None:
        made = self._made.pop(asyncio.get_running_loop(), None)
        if made is not None and self._close is not None:
            await self._close(made)


def _free_all(
    made: MutableMapping[asyncio.AbstractEventLoop, T], close: Callable[[T], Awaitable[None]]
) -> None:
    """Free objects that were not closed, without waiting."""

    async def free(one: T) -> None:
        await close(one)

    for loop, one in list(made.items()):
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(free(one), loop)


@atexit.register
def _close_all() -> None:
    background = _Background._current
    for one in list(PerLoop._all):
        if background is not None and one._made:
            with suppress(Exception):
                asyncio.run_coroutine_threadsafe(one._free(), background.loop).result(CLOSING_S)


class _Background:
    """Engines' loop of this process and its thread; a fork gets neither."""

    _lock = threading.Lock()
    _current: _Background | None = None

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.mailbox = Mailbox.of(self.loop)
        self.thread = threading.Thread(
            target=self.loop.run_forever, name="zs_env engines", daemon=True
        )
        self.thread.start()

    @classmethod
    def get(cls) -> _Background:
        """Return the object of this process, made at first use."""
        with cls._lock:
            if cls._current is None:
                cls._current = cls()
            return cls._current

    @classmethod
    def forget(cls) -> None:
        """Start anew after a fork: the thread is missing, and the lock may be held for ever."""
        cls._lock = threading.Lock()
        cls._current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Background.forget)
