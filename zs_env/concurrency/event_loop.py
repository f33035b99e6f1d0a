"""One event loop, in a thread of its own, on which all engines wait for their servers.

Clients and locks of asyncio belong to the loop they were first used on: a new loop for each batch
would break them, or cost a new connection for each search. And a loop that waits only for servers
goes on while a policy computes on another.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` from synchronous code, also in a notebook, where a loop is running.

    Whatever it raises is raised here; an interrupt of the caller cancels it.

    Raises:
        RuntimeError: called on that loop itself, which would then wait for ever.
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
    return result  # type: ignore[return-value]  # there is one where there is no error


async def on_engine_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` on the loop of all engines, from whatever loop this is awaited on."""
    background = _Background.get()
    if asyncio.get_running_loop() is background.loop:
        return await coroutine
    future = asyncio.run_coroutine_threadsafe(caught(coroutine), background.loop)
    result, error = await asyncio.wrap_future(future)
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def engine_loop() -> asyncio.AbstractEventLoop:
    """The loop of all engines of this process, which runs in a thread of its own."""
    return _Background.get().loop


async def caught(
    coroutine: Coroutine[Any, Any, T],
) -> tuple[T | None, BaseException | None]:
    """The result or the error of ``coroutine``: a SystemExit would end the loop's thread.

    Every task that runs on the loop must be wrapped so.
    """
    try:
        return await coroutine, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error


class PerLoop(Generic[T]):
    """Something that belongs to an event loop, such as a client: made where it is first needed.

    After a fork there is a new loop, and so a new one is made. It is pickled without what it made.

    Args:
        make: makes it; called on the loop.
        close: frees it, if there is anything to free.
    """

    def __init__(
        self, make: Callable[[], T], close: Callable[[T], Awaitable[None]] | None = None
    ) -> None:
        self._make = make
        self._close = close
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T] = (
            weakref.WeakKeyDictionary()
        )

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Pickle as the arguments."""
        return type(self), (self._make, self._close)

    def get(self) -> T:
        """The one of the running loop."""
        loop = asyncio.get_running_loop()
        made = self._made.get(loop)
        if made is None:
            made = self._made[loop] = self._make()
        return made

    def close(self) -> None:
        """Free the one of the engines' loop, if it was made. May be called twice."""
        if self._made:
            run_to_end(self._free())

    async def _free(self) -> None:
        made = self._made.pop(asyncio.get_running_loop(), None)
        if made is not None and self._close is not None:
            await self._close(made)


class _Background:
    """The loop of a process and its thread, which does not live on in a fork."""

    _lock = threading.Lock()
    _current: _Background | None = None

    def __init__(self) -> None:
        self.process = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(
            target=self.loop.run_forever, name="zs_env engines", daemon=True
        )
        self.thread.start()

    @classmethod
    def get(cls) -> _Background:
        """The one of this process."""
        with cls._lock:
            if cls._current is None or cls._current.process != os.getpid():
                cls._current = cls()
            return cls._current
