"""One event loop, in a thread of its own, on which synchronous callers run asynchronous engines.

Clients and locks of asyncio belong to the loop they were first used on: a new loop for each batch
would break them, or cost a new connection for each search.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

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
