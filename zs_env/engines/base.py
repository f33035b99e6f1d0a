"""What a search engine is. Subclass `SearchEngine` and write one method."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from zs_env.documents import SearchRequest, SearchResult
from zs_env.errors import EngineContractError, SearchFailure


class SearchEngine:
    """Answers searches. Override `search` or `asearch`; each is derived from the other.

    An engine answers from the request alone, which carries its own question, golden answers and
    random key: the same request gets the same result in any batch and at any time. It bounds its
    retries and its waiting. A search that fails in spite of them returns
    ``SearchResult(failure=SearchFailure(...))`` or raises `SearchFailure`; any other exception
    is a defect and stops the program.

    Example:
        >>> class Parrot(SearchEngine):
        ...     def search(self, requests):
        ...         return [SearchResult((Document(f"{r.query}!"),)) for r in requests]
    """

    honours_noise: bool = True
    """False for a real engine, which cannot write noisy documents: no search is labelled noisy."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a subclass that overrides neither method."""
        super().__init_subclass__(**kwargs)
        if cls.search is SearchEngine.search and cls.asearch is SearchEngine.asearch:
            raise TypeError(f"{cls.__name__} must override `search` or `asearch`.")

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer a batch.

        Args:
            requests: in any order; may come from different episodes.

        Returns:
            One result for each request, in the order of the requests.
        """
        return _run_to_end(self._gather(requests))

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """Answer one request without blocking the event loop."""
        [result] = await asyncio.to_thread(self.search, [request])
        return result

    def close(self) -> None:
        """Free what the engine holds. May be called twice."""

    async def _gather(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        return list(await asyncio.gather(*map(self._attempt, requests)))

    async def _attempt(self, request: SearchRequest) -> SearchResult:
        """One request of a batch: its failure is its own and leaves the others alone."""
        try:
            return await self.asearch(request)
        except SearchFailure as failure:
            return SearchResult(failure=failure)


def _run_to_end(coroutine: Any) -> list[SearchResult]:
    """Run a coroutine from synchronous code, also inside a notebook, whose loop is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return list(asyncio.run(coroutine))
    with ThreadPoolExecutor(max_workers=1) as executor:
        return list(executor.submit(asyncio.run, coroutine).result())


def answer_batch(engine: SearchEngine, requests: Sequence[SearchRequest]) -> list[SearchResult]:
    """Ask ``engine``, and hold it to its contract. What drivers call.

    Raises:
        EngineContractError: the engine did not return one `SearchResult` for each request.
    """
    try:
        results = engine.search(requests)
    except SearchFailure as failure:
        return [SearchResult(failure=failure)] * len(requests)
    name = type(engine).__name__
    if not isinstance(results, list | tuple) or len(results) != len(requests):
        count = len(results) if isinstance(results, list | tuple) else type(results).__name__
        raise EngineContractError(
            f"{name}.search must return a list of {len(requests)} results, got {count}."
        )
    for result in results:
        if not isinstance(result, SearchResult):
            raise EngineContractError(
                f"{name}.search must return SearchResult objects, got {type(result).__name__}."
            )
    return list(results)
