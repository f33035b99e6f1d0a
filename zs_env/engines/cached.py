"""Records what an engine answers, and replays it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

from zs_env.concurrency.event_loop import on_engine_loop
from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines import load_engine
from zs_env.engines.base import SearchEngine, answer
from zs_env.engines.cache_store import CacheStore
from zs_env.errors import SearchFailure

MODES = ("record", "replay")


class CachedEngine(SearchEngine):
    """Asks ``engine`` once for each answer, and keeps it in a folder that processes may share.

    An answer is found again by all that decides it: what `SearchEngine.identity` says of the engine
    and what `SearchEngine.deciding` takes from the request. Failures are not kept. A damaged record
    is asked for again.

    Args:
        engine: what is recorded.
        folder: where; made if it does not exist.
        mode: ``record``: what is not there yet is asked; ``replay``: nothing is asked, and what is
            not there fails.

    Raises:
        ValueError: the mode is unknown.
        NotImplementedError: the engine does not say what decides its answers.

    Attributes:
        num_replayed: answers that came from the folder.
        num_recorded: answers that came from the engine.
    """

    def __init__(self, engine: SearchEngine, folder: str | Path, mode: str = "record") -> None:
        if mode not in MODES:
            raise ValueError(f"`mode` must be one of {', '.join(MODES)}, got {mode!r}.")
        self.engine = engine
        self.honours_noise = engine.honours_noise
        self.num_replayed = 0
        self.num_recorded = 0
        self._identity = [f"{type(engine).__module__}.{type(engine).__qualname__}"]
        self._identity.append(json.dumps(engine.identity(), sort_keys=True))
        self._replay = mode == "replay"
        self._folder = folder
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="zs_env cache")
        self._store = self._thread.submit(CacheStore, folder).result()

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """The recorded answer, or else the engine's."""
        return await on_engine_loop(self._answer(request))

    def identity(self) -> dict[str, Any]:
        """That of the engine."""
        return self.engine.identity()

    def deciding(self, request: SearchRequest) -> tuple[Hashable, ...]:
        """As the engine."""
        return self.engine.deciding(request)

    def check(self) -> None:
        """See whether the engine can be used, unless it is not needed."""
        if not self._replay:
            self.engine.check()

    def close(self) -> None:
        """Close the folder and the engine."""
        if not self._closed:
            self._closed = True
            self._thread.submit(self._store.close).result()
            self._thread.shutdown()
        self.engine.close()

    async def _answer(self, request: SearchRequest) -> SearchResult:
        loop = asyncio.get_running_loop()
        key = self._key(request)
        stored = await loop.run_in_executor(self._thread, self._store.get, key)
        if stored is not None:
            self.num_replayed += 1
            return SearchResult(tuple(Document(text, title) for text, title in stored))
        if self._replay:
            raise SearchFailure(f"{self._folder} has no record of {request.query!r}.")
        result = await answer(self.engine, request)
        if result.failure is None:
            pages = [(document.text, document.title) for document in result.documents]
            await loop.run_in_executor(self._thread, self._store.set, key, pages)
            self.num_recorded += 1
        return result

    def _key(self, request: SearchRequest) -> str:
        decides = json.dumps([self._identity, self.engine.deciding(request)])
        return blake2b(decides.encode(), digest_size=16).hexdigest()


def load(
    folder: str | Path,
    engine: str | SearchEngine = "simulated",
    engine_options: Mapping[str, Any] | None = None,
    mode: str = "record",
    world_seed: int = 0,
    world_size: str = "small",
) -> CachedEngine:
    """The engine that ``engine`` stands for, with a record in ``folder``.

    Args:
        folder: see `CachedEngine`.
        engine: what is recorded, by name or made.
        engine_options: keyword arguments of an engine given by name.
        mode: ``record`` or ``replay``.
        world_seed: seed of the embedded world, for engines that search it.
        world_size: size of the embedded world.
    """
    inner = load_engine(engine, engine_options, world_seed, world_size, check=False)
    return CachedEngine(inner, folder, mode)
