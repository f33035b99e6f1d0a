"""One event loop, in a thread of its own, on which synchronous callers run asynchronous engines.

Clients and locks of asyncio belong to the loop they were first used on: a new loop for each batch
would break them, or cost a new connection for each search.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` from synchronous code, also in a notebook, where a loop is running.

    An interrupt cancels it and gets through.
    """
    loop, thread = _loop_of(os.getpid())
    if threading.current_thread() is thread:
        coroutine.close()
        raise RuntimeError("await `asearch` in asynchronous code: `search` would wait for itself.")
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


@lru_cache(maxsize=1)
def _loop_of(process: int) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    """The loop of this process: the thread of a parent does not live on in a fork."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="zs_env engines", daemon=True)
    thread.start()
    return loop, thread
