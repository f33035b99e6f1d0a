"""Recording and replay of the answers of an engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from zs_env.concurrency.event_loop import PerLoop, run_to_end
from zs_env.concurrency.single_flight import SingleFlight
from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines import load_engine
from zs_env.engines.base import SearchEngine, checked_asearch
from zs_env.engines.cache_store import CacheStore
from zs_env.engines.usage import Usage
from zs_env.errors import SearchFailure
from zs_env.loading import Spec

T = TypeVar("T")

MODES = ("record", "replay")

Pages = list[list[str]]
"""Text and title of each document of an answer, as they are stored."""


class CachedEngine(SearchEngine):
    """Engine that asks ``engine`` once for each answer and keeps it in a folder.

    The key of an answer is what decides it: `SearchEngine.identity` of the engine and
    `SearchEngine.cache_key` of the request. Failures are not kept. Processes may share the folder.

    Args:
        engine: engine whose answers are recorded.
        folder: folder of the records.
        mode: ``record`` asks the engine for missing and for damaged records, and creates the
            folder if it does not exist; ``replay`` asks nothing: a search without a record fails,
            and a missing or damaged folder is an error (`ServiceError`) that changes nothing.
        owns_engine: whether `close` closes ``engine`` too.

    Raises:
        ValueError: the mode is unknown, or ``folder`` is empty.
        NotImplementedError: the engine has no `SearchEngine.identity`.

    Attributes:
        num_replayed: number of answers from the folder.
        num_recorded: number of answers from the engine.
    """

    def __init__(
        self,
        engine: SearchEngine,
        folder: str | Path,
        mode: str = "record",
        *,
        owns_engine: bool = False,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"`mode` must be one of {', '.join(MODES)}, got {mode!r}.")
        if not str(folder):
            raise ValueError("`folder` must name a folder, got an empty text.")
        self.engine = engine
        self.honours_noise = engine.honours_noise
        self.num_replayed = 0
        self.num_recorded = 0
        self._identity = [f"{type(engine).__module__}.{type(engine).__qualname__}"]
        self._identity.append(json.dumps(engine.identity(), sort_keys=True))
        self._replay = mode == "replay"
        self._folder = folder
        self._owns_engine = owns_engine
        self._records = PerLoop(self._open, _close)

    @property
    def usage(self) -> Usage | None:  # type: ignore[override]  # here a property
        """Usage of the recorded engine; replayed answers use nothing."""
        return self.engine.usage

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """Return the recorded answer, or else the engine's."""
        key = self._key(request)
        records = self._records.get()
        return await records.flights.run(key, lambda: self._answer(records, key, request))

    def identity(self) -> dict[str, Any]:
        """Return the identity of the recorded engine."""
        return self.engine.identity()

    def cache_key(self, request: SearchRequest) -> tuple[Hashable, ...]:
        """Return the key that the recorded engine gives."""
        return self.engine.cache_key(request)

    def check(self) -> None:
        """Check that the folder can be used, and with mode ``record`` the engine too."""
        run_to_end(self._check_folder())
        if not self._replay:
            self.engine.check()

    def close(self) -> None:
        """Close the folder, and the engine if this object owns it."""
        self._records.close()
        if self._owns_engine:
            self.engine.close()

    async def _check_folder(self) -> None:
        await self._records.get().do(CacheStore.__len__)

    async def _answer(self, records: _Records, key: str, request: SearchRequest) -> SearchResult:
        stored: Pages | None = await records.do(CacheStore.get, key)
        if stored is None and self._replay:
            raise SearchFailure(f"{self._folder} has no record of {request.query!r}.")
        if stored is not None:
            self.num_replayed += 1
            return _result_of(stored)
        result = await checked_asearch(self.engine, request)
        if result.failure is not None:
            return result
        self.num_recorded += 1
        pages = [[document.text, document.title] for document in result.documents]
        # If another process was faster, its answer is the one that replay will return.
        return _result_of(await records.do(CacheStore.add, key, pages))

    def _key(self, request: SearchRequest) -> str:
        decides = json.dumps([self._identity, self.engine.cache_key(request)])
        return blake2b(decides.encode(), digest_size=16).hexdigest()

    def _open(self) -> _Records:
        return _Records(self._folder, self._replay)


class _Records:
    """Store, used by one thread of its own as SQLite requires, and the searches under way."""

    def __init__(self, folder: str | Path, read_only: bool) -> None:
        self.flights: SingleFlight[SearchResult] = SingleFlight()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="zs_env cache")
        self._folder = folder
        self._read_only = read_only
        self._store: CacheStore | None = None

    async def do(self, work: Callable[..., T], *args: Any) -> T:
        """Return ``work(store, *args)``, run in the thread of the store."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, self._do, work, *args)

    def _do(self, work: Callable[..., T], *args: Any) -> T:
        if self._store is None:
            self._store = CacheStore(self._folder, read_only=self._read_only)
        return work(self._store, *args)


async def _close(records: _Records) -> None:
    if records._store is not None:
        await records.do(CacheStore.close)
    records.thread.shutdown()


def _result_of(pages: Pages) -> SearchResult:
    return SearchResult(tuple(Document(text, title) for text, title in pages))


def load(
    folder: str | Path,
    engine: Spec | SearchEngine = "simulated",
    mode: str = "record",
    world_seed: int = 0,
    world_size: str = "small",
) -> CachedEngine:
    """Make the engine that ``engine`` names, with its answers recorded in ``folder``.

    Args:
        folder: see `CachedEngine`.
        engine: engine to record, as `zs_env.engines.load_engine` takes it.
        mode: ``record`` or ``replay``.
        world_seed: seed of the embedded world, for engines that search it.
        world_size: size of the embedded world.
    """
    made = not isinstance(engine, SearchEngine)
    inner = load_engine(engine, world_seed, world_size, check=False)
    return CachedEngine(inner, folder, mode, owns_engine=made)
