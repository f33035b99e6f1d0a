"""Contract tests to inherit for a search engine of your own.

    class TestMyEngine(SearchEngineContract):
        def make_engine(self):
            return MyEngine()

pytest runs every test below against it. The tests themselves do not import pytest.
"""

from __future__ import annotations

import asyncio

from zs_env.documents import SearchRequest, SearchResult
from zs_env.engines import SearchEngine, checked_asearch, checked_search


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
