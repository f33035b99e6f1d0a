"""The contract of search engines, and an engine that fails now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from zs_env import keyed_random
from zs_env.checks import as_share
from zs_env.documents import SearchRequest, SearchResult
from zs_env.engines import SearchEngine, checked_asearch, checked_search, load_engine
from zs_env.errors import SearchFailure


class SearchEngineContract:
    """Tests of what every engine must do. Override `make_engine`, and `make_requests` if needed."""

    def make_engine(self) -> SearchEngine:
        """Return the engine to test; a fresh one for each test."""
        raise NotImplementedError("override make_engine() to return the engine to test")

    def make_requests(self) -> list[SearchRequest]:
        """Return requests that the engine can answer, no two alike."""
        # Keywords, a question, other alphabets, and no word at all.
        queries = ["birthplace of Ada Blake", "who founded Cobb Anchor", "ελληνικά 漢字 🙂", "?"]
        return [
            SearchRequest(
                query=query,
                question="Where was Ada Blake born?",
                golden_answers=("Jarrow Corvale",),
                noisy=bool(turn % 2),
                turn=turn,
                top_k=turn + 1,
                key=1000 + turn,
            )
            for turn, query in enumerate(queries)
        ]

    def test_engine_batch_gets_one_result_for_each_request(self) -> None:
        """Check that results keep the order of requests, with at most ``top_k`` documents each."""
        requests = self.make_requests()
        results = checked_search(self.make_engine(), requests)
        for request, result in zip(requests, results, strict=True):
            assert result.failure is None, f"{request.query!r} failed: {result.failure}"
            found = len(result.documents)
            assert found <= request.top_k, f"{found} documents, top_k is {request.top_k}"

    def test_engine_empty_batch_gets_no_results(self) -> None:
        """Check that no requests get no results, and no error."""
        results = checked_search(self.make_engine(), [])
        assert results == [], f"expected no results, got {results}"

    def test_engine_result_does_not_depend_on_the_batch(self) -> None:
        """Check that a request gets the same result alone and in batches of any order."""
        engine, requests = self.make_engine(), self.make_requests()
        together = checked_search(engine, requests)
        backwards = checked_search(engine, requests[::-1])[::-1]
        alone = [checked_search(engine, [request])[0] for request in requests]
        for request, *results in zip(requests, together, backwards, alone, strict=True):
            assert results[0] == results[1] == results[2], f"{request} got {results}"

    def test_engine_asearch_agrees_with_search(self) -> None:
        """Check that the asynchronous interface gives the same results, in any order."""
        engine, requests = self.make_engine(), self.make_requests()

        async def gather() -> list[SearchResult]:
            return list(await asyncio.gather(*(checked_asearch(engine, r) for r in requests)))

        found, expected = asyncio.run(gather()), checked_search(engine, requests)
        assert found == expected, f"asearch gave {found}, search {expected}"

    def test_engine_close_twice_is_harmless(self) -> None:
        """Closing is idempotent."""
        engine = self.make_engine()
        engine.close()
        engine.close()


class FailingEngine(SearchEngine):
    """Engine whose searches fail now and then, each always or never: it depends on its key.

    Args:
        engine: engine that answers the others, as drivers take it.
        share: share of the searches that fail, in [0, 1].
    """

    def __init__(self, engine: Any = "world", share: float = 0.1) -> None:
        self._engine = load_engine(engine)
        self._share = as_share("share", share)
        self.honours_noise = self._engine.honours_noise

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer a batch."""
        results = checked_search(self._engine, requests)
        failed = SearchResult(failure=SearchFailure("this search fails, for a test"))
        return [
            failed if self.fails(request) else result
            for request, result in zip(requests, results, strict=True)
        ]

    def fails(self, request: SearchRequest) -> bool:
        """Return whether the search of ``request`` fails."""
        return keyed_random.uniform("failing engine", request.key) < self._share

    def close(self) -> None:
        """Close the engine inside."""
        self._engine.close()
