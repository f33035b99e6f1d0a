"""One event loop, in a thread of its own, on which all engines wait for their servers.

Clients and locks of asyncio belong to the loop they were first used on: a new loop for each batch
would break them, or cost a new connection for each search. And a loop that waits only for servers
goes on while a policy computes on another.
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

T = TypeVar("T")

CLOSING_S = 1.0
"""How long the end of a program waits for what was not closed."""


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


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """What ``function`` returns, run in a thread of its own, which the end of the program ends.

    A thread of a pool would be waited for: Ctrl-C would not end a program whose engine hangs.
    """
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
        except StopIteration as raised:  # no future can hold one
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
    What was not closed is freed when it is forgotten, and at the end of the program.

    Args:
        make: makes it; called on the loop.
        close: frees it, if there is anything to free.
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


def _free_all(
    made: MutableMapping[asyncio.AbstractEventLoop, T], close: Callable[[T], Awaitable[None]]
) -> None:
    """Free what nobody closed, without waiting."""

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
    """The loop of a process and its thread, which does not live on in a fork."""

    _lock = threading.Lock()
    _current: _Background | None = None

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(
            target=self.loop.run_forever, name="zs_env engines", daemon=True
        )
        self.thread.start()

    @classmethod
    def get(cls) -> _Background:
        """The one of this process."""
        with cls._lock:
            if cls._current is None:
                cls._current = cls()
            return cls._current

    @classmethod
    def forget(cls) -> None:
        """After a fork: the thread is not here, and the lock may have been held by another."""
        cls._lock = threading.Lock()
        cls._current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Background.forget)
