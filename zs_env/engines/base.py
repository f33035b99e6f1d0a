"""Base class of search engines: subclass `SearchEngine` and write one method."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

from zs_env.concurrency.batcher import Batcher
from zs_env.concurrency.event_loop import (
    PerLoop,
    caught,
    in_thread,
    on_engine_loop,
    run_to_end,
)
from zs_env.documents import SearchRequest, SearchResult
from zs_env.engines.usage import Usage
from zs_env.errors import EngineContractError, SearchFailure

MAX_BATCH_SIZE = 256
"""Largest batch for `SearchEngine.search` when single requests are collected."""


class SearchEngine:
    """Engine that answers searches. Override `search` or `asearch`; the other is derived.

    An engine answers from the request alone, which carries its own question, golden answers and
    random key: the same request gets the same result in any batch and at any time. It limits its
    retries and its waiting. If a search still fails, return
    ``SearchResult(failure=SearchFailure(...))`` or raise `SearchFailure`; if a batch raises it,
    each request is asked again alone. Any other exception is a defect and stops the program.
    Asynchronous engines run on one event loop for the life of the process. Requests to an engine
    that has only `search` are collected into batches, and one batch is answered at a time.

    Example:
        >>> class Parrot(SearchEngine):
        ...     def search(self, requests):
        ...         return [SearchResult((Document(f"{r.query}!"),)) for r in requests]
    """

    usage: Usage | None = None
    """Counts of what searches have used; None for an engine that does not count."""

    honours_noise: bool = True
    """Whether the engine can write noisy documents; if not, no search is labelled noisy."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a subclass that overrides neither method."""
        super().__init_subclass__(**kwargs)
        if cls.search is SearchEngine.search and cls.asearch is SearchEngine.asearch:
            raise TypeError(f"{cls.__name__} must override `search` or `asearch`.")

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer a batch.

        Args:
            requests: requests in any order; they may come from different episodes.

        Returns:
            One result for each request, in the order of the requests.
        """
        return run_to_end(_gather(self, requests))

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """Answer one request without blocking the event loop."""
        return await self._batchers.get()(request)

    def check(self) -> None:
        """Check that the engine can be used; called once at the start, for engines given by name.

        Raises:
            ServiceError: it cannot be used: a wrong URL, a missing key, an unknown model.
        """

    def identity(self) -> dict[str, Any]:
        """Return what decides the answers besides the request, such as a model. JSON, no secrets.

        Raises:
            NotImplementedError: the engine does not override it; its answers cannot be recorded.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must override `identity` to say what decides its answers."
        )

    def cache_key(self, request: SearchRequest) -> tuple[Hashable, ...]:
        """Return the part of ``request`` that decides the answer: equal keys may share one."""
        return request if self.honours_noise else (request.query, request.top_k)

    def close(self) -> None:
        """Free what the engine holds. May be called twice."""

    @cached_property
    def _batchers(self) -> PerLoop[Batcher[SearchRequest, SearchResult]]:
        return PerLoop(self._make_batcher)

    def _make_batcher(self) -> Batcher[SearchRequest, SearchResult]:
        async def ask(requests: Sequence[SearchRequest]) -> list[SearchResult]:
            return await in_thread(checked_search, self, requests)

        return Batcher(ask, max_size=MAX_BATCH_SIZE, max_in_flight=1)


async def checked_asearch(engine: SearchEngine, request: SearchRequest) -> SearchResult:
    """Ask ``engine`` for one result and check it; asynchronous drivers call this.

    The engine runs on the event loop of all engines, whichever loop the caller runs on.

    Raises:
        EngineContractError: the engine did not return a `SearchResult`.
    """
    return await on_engine_loop(_answer(engine, request))


async def _answer(engine: SearchEngine, request: SearchRequest) -> SearchResult:
    try:
        result = await engine.asearch(request)
    except SearchFailure as failure:
        return SearchResult(failure=failure)
    return _check(engine, result)


async def _gather(engine: SearchEngine, requests: Sequence[SearchRequest]) -> list[SearchResult]:
    """Answer all requests: a failure concerns its own request only; a defect is raised."""
    outcomes = await asyncio.gather(*(caught(_answer(engine, request)) for request in requests))
    for _, error in outcomes:
        if error is not None:
            raise error
    return [result for result, _ in outcomes if result is not None]


def checked_search(engine: SearchEngine, requests: Sequence[SearchRequest]) -> list[SearchResult]:
    """Ask ``engine`` for a batch and check the results; drivers call this.

    If `search` raises a failure for a batch, each request is asked alone.

    Raises:
        EngineContractError: the engine did not return one `SearchResult` for each request.
    """
    try:
        results = engine.search(requests)
    except SearchFailure as failure:
        if len(requests) == 1:
            return [SearchResult(failure=failure)]
        # The failure may be the fault of one request: asked alone, the others succeed.
        return [checked_search(engine, [request])[0] for request in requests]
    name = type(engine).__name__
    if not isinstance(results, list | tuple) or len(results) != len(requests):
        count = len(results) if isinstance(results, list | tuple) else type(results).__name__
        raise EngineContractError(
            f"{name}.search must return a list of {len(requests)} results, got {count}."
        )
    return [_check(engine, result) for result in results]


def _check(engine: SearchEngine, result: object) -> SearchResult:
    if not isinstance(result, SearchResult):
        raise EngineContractError(
            f"{type(engine).__name__} must return SearchResult objects, "
            f"got {type(result).__name__}."
        )
    return result
