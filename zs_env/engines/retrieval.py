"""Real search engine behind HTTP: your own retrieval server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from zs_env.concurrency.attempts import Retry, no_answer
from zs_env.concurrency.batcher import Batcher
from zs_env.concurrency.event_loop import PerLoop, run_to_end
from zs_env.concurrency.http import JsonServers
from zs_env.concurrency.servers import Patience
from zs_env.concurrency.single_flight import SingleFlight
from zs_env.concurrency.urls import check_urls, public_url
from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines.base import SearchEngine
from zs_env.engines.corpus import split_contents
from zs_env.engines.usage import Usage
from zs_env.errors import SearchFailure, ServiceError

WIRES = ("search-r1", "wiki")


class Lookup(NamedTuple):
    """Search that a retrieval server is asked for."""

    query: str
    top_k: int


class RetrievalEngine(SearchEngine):
    """Engine that asks one or more retrieval servers of the same corpus; it ignores ``noisy``.

    | wire        | request                                                   | answer |
    |-------------|-----------------------------------------------------------|--------|
    | `search-r1` | `{"queries": [...], "topk": 5, "return_scores": true}`     | `{"result": [[{"document": {"contents": "title, newline, text"}, "score": 1.0}]]}` |
    | `wiki`      | `{"query": "...", "top_k": 5}`                             | `[{"text": "..."}]` |

    With the wire ``search-r1``, queries that arrive at about the same time share a request. Equal
    queries that are under way at the same time are sent once.

    Args:
        url: URL that queries are posted to, such as ``http://127.0.0.1:8000/retrieve``; or several.
        wire: format of the server: ``search-r1``, or ``wiki`` as in ZeroSearch's code.
        timeout_s: time limit of one attempt, in seconds.
        deadline_s: time limit of a request, in seconds, waiting and retries included.
        max_attempts: most attempts of one request.
        max_concurrency: most requests under way at the same time.
        max_batch_size: most queries of a request.

    Raises:
        ServiceError: ``url`` is not a URL or a list of URLs.
        ValueError: the wire is unknown, or a limit is not positive.

    Attributes:
        usage: counts of what searches have used, `Usage`.
    """  # noqa: E501  (the rows of a table cannot be broken)

    honours_noise = False

    def __init__(
        self,
        url: str | Sequence[str],
        wire: str = "search-r1",
        timeout_s: float = 30.0,
        deadline_s: float = 60.0,
        max_attempts: int = 6,
        max_concurrency: int = 64,
        max_batch_size: int = 64,
    ) -> None:
        if wire not in WIRES:
            raise ValueError(f"`wire` must be one of {', '.join(WIRES)}, got {wire!r}.")
        if not isinstance(max_batch_size, int) or max_batch_size < 1:
            raise ValueError(f"`max_batch_size` must be at least 1, got {max_batch_size!r}.")
        self._urls = check_urls(url)
        self._wire = wire
        self._deadline_s = deadline_s
        self.usage: Usage = Usage()
        self._servers = JsonServers(
            self._urls, Patience(timeout_s, deadline_s, max_attempts, max_concurrency)
        )
        self._batch_size = max_batch_size if wire == "search-r1" else 1
        self._max_concurrency = max_concurrency
        self._asked = PerLoop(self._connect)

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """Find the documents of one request."""
        with self.usage.counting():
            return await self._find(Lookup(request.query, request.top_k))

    def identity(self) -> dict[str, Any]:
        """Return the URLs and the wire: servers elsewhere may serve another corpus."""
        return {"urls": [public_url(url) for url in self._urls], "wire": self._wire}

    def check(self) -> None:
        """Check the server by asking for one document.

        Raises:
            ServiceError: the server cannot be reached, or does not speak ``wire``.
        """
        try:
            run_to_end(self._find(Lookup("test", 1)))
        except SearchFailure as failure:
            raise ServiceError(f"no retrieval server: {failure} Is `url` right?") from None

    def close(self) -> None:
        """Close the connections."""
        self._servers.close()

    async def _find(self, lookup: Lookup) -> SearchResult:
        batcher, flights = self._asked.get()
        found = flights.run(lookup, lambda: batcher(lookup))
        try:
            result = await asyncio.wait_for(found, self._deadline_s)
        except asyncio.TimeoutError:
            names = ", ".join(map(public_url, self._urls))
            raise SearchFailure(
                f"no answer from {names}; the deadline of {self._deadline_s:g} s has passed."
            ) from None
        if result.failure is not None:
            raise result.failure
        return result

    def _connect(self) -> tuple[Batcher[Lookup, SearchResult], SingleFlight[SearchResult]]:
        batcher = Batcher(self._ask, max_size=self._batch_size, max_in_flight=self._max_concurrency)
        return batcher, SingleFlight()

    async def _ask(self, lookups: Sequence[Lookup]) -> list[SearchResult]:
        """Return the result of each lookup; if the batch fails, ask for each one alone."""
        try:
            return await self._ask_batch(lookups)
        except SearchFailure as failure:
            if len(lookups) == 1:
                return [SearchResult(failure=failure)]
        # One lookup may have made the whole batch fail.
        alone = await asyncio.gather(*(self._ask([lookup]) for lookup in lookups))
        return [result for [result] in alone]

    async def _ask_batch(self, lookups: Sequence[Lookup]) -> list[SearchResult]:
        """Return the results of a batch, each with as many documents as its lookup wants."""
        top_k = max(lookup.top_k for lookup in lookups)
        if self._wire == "wiki":
            payload: Any = {"query": lookups[0].query, "top_k": top_k}
            read: Callable[[Any, int], list[tuple[Document, ...]]] = read_wiki
        else:
            queries = [lookup.query for lookup in lookups]
            payload = {"queries": queries, "topk": top_k, "return_scores": True}
            read = read_search_r1
        found = await self._servers.ask(lambda answer: read(answer, len(lookups)), payload=payload)
        return [
            SearchResult(documents[: lookup.top_k])
            for documents, lookup in zip(found, lookups, strict=True)
        ]


def read_search_r1(answer: Any, num_queries: int) -> list[tuple[Document, ...]]:
    """Return each query's documents from an answer of Search-R1's server.

    Raises:
        Retry: the answer is malformed, or has not one list for each query.
    """
    try:
        found = [tuple(_read_contents(hit) for hit in hits) for hits in answer["result"]]
    except (LookupError, TypeError, AttributeError):
        raise no_answer("an answer of Search-R1's format", answer) from None
    if len(found) != num_queries:
        raise Retry(f"{num_queries} queries got {len(found)} results")
    return found


def read_wiki(answer: Any, num_queries: int) -> list[tuple[Document, ...]]:
    """Return the documents from an answer of ZeroSearch's wiki server, which takes one query.

    Raises:
        Retry: the answer is malformed.
    """
    try:
        return [tuple(Document(hit["text"], hit.get("title") or "") for hit in answer)]
    except (LookupError, TypeError, AttributeError):
        raise no_answer("an answer of the wiki format", answer) from None


def _read_contents(hit: Any) -> Document:
    """Return the document of a hit, with or without a score around it."""
    title, text = split_contents(hit.get("document", hit)["contents"])
    return Document(text, title)


load = RetrievalEngine
