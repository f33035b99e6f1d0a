"""Search engine behind HTTP: your own retrieval server, or a simulated engine that is served."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from zs_env.checks import as_integer
from zs_env.concurrency.batcher import Batcher
from zs_env.concurrency.event_loop import PerLoop, run_to_end
from zs_env.concurrency.http import JsonServers
from zs_env.concurrency.servers import Patience
from zs_env.concurrency.single_flight import SingleFlight
from zs_env.concurrency.urls import check_urls, public_url
from zs_env.documents import SearchRequest, SearchResult
from zs_env.engines.base import SearchEngine
from zs_env.engines.retrieval_wires import WHOLE, WIRES
from zs_env.engines.usage import Usage
from zs_env.errors import SearchFailure, ServiceError


class Limits(NamedTuple):
    """Limits where none are given: times in seconds, and numbers of requests and of queries."""

    timeout_s: float
    deadline_s: float
    max_concurrency: int
    max_batch_size: int


PLAIN_LIMITS = Limits(30.0, 60.0, 64, 64)
"""Limits of queries to a corpus, which are answered quickly and together."""

WHOLE_LIMITS = Limits(150.0, 300.0, 1024, 1)
"""Limits of whole requests to a simulated engine. Its own deadline is 120 s by default, and a quick
answer does not wait for a slow one in the same batch."""


class RetrievalEngine(SearchEngine):
    """Engine that asks one or more retrieval servers of the same corpus, by the query alone.

    | wire        | request                                                   | answer |
    |-------------|-----------------------------------------------------------|--------|
    | `search-r1` | `{"queries": [...], "topk": 5, "return_scores": true}`     | `{"result": [[{"document": {"contents": "title, newline, text"}, "score": 1.0}]]}` |
    | `wiki`      | `{"query": "...", "top_k": 5}`                             | `[{"text": "..."}]` |

    With the wire ``search-r1``, queries that arrive at about the same time share a request. Equal
    queries that are under way at the same time are sent once. With ``send_request``, a simulated
    engine behind `zs_env.engines.retrieval_server` answers as it does in this process.

    Args:
        url: URL that queries are posted to, such as ``http://127.0.0.1:8000/retrieve``; or several.
        wire: format of the server: ``search-r1``, or ``wiki`` as in ZeroSearch's code.
        timeout_s: time limit of one attempt, in seconds; by default 30, with ``send_request`` 150.
        deadline_s: time limit of a request, in seconds, waiting and retries included; by default
            60, with ``send_request`` 300.
        max_attempts: most attempts of one request.
        max_concurrency: most requests under way at the same time; by default 64, with
            ``send_request`` 1,024.
        max_batch_size: most queries of a request; by default 64, with ``send_request`` 1.
        send_request: whether question, golden answers, noise label and key are sent too, to a
            server of a simulated engine; without it, no search is labelled noisy.

    Raises:
        ServiceError: ``url`` is not a URL or a list of URLs.
        ValueError: the wire is unknown or has no place for whole requests, or a limit is not
            positive.
        TypeError: ``send_request`` is neither true nor false.

    Attributes:
        usage: counts of what searches have used, `Usage`.
    """  # noqa: E501  (the rows of a table cannot be broken)

    def __init__(
        self,
        url: str | Sequence[str],
        wire: str = "search-r1",
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        max_attempts: int = 6,
        max_concurrency: int | None = None,
        max_batch_size: int | None = None,
        send_request: bool = False,
    ) -> None:
        if wire not in WIRES:
            raise ValueError(f"`wire` must be one of {', '.join(WIRES)}, got {wire!r}.")
        if not isinstance(send_request, bool):
            raise TypeError(f"`send_request` must be true or false, got {send_request!r}.")
        if send_request and wire != "search-r1":
            raise ValueError(f"`send_request` needs `wire` search-r1, got {wire!r}.")
        given: dict[str, Any] = {
            "timeout_s": timeout_s,
            "deadline_s": deadline_s,
            "max_concurrency": max_concurrency,
            "max_batch_size": max_batch_size,
        }
        given = {name: value for name, value in given.items() if value is not None}
        limits = (WHOLE_LIMITS if send_request else PLAIN_LIMITS)._replace(**given)
        as_integer("max_batch_size", limits.max_batch_size, 1)
        self.honours_noise = send_request
        self.usage: Usage = Usage()
        self._urls = check_urls(url)
        self._wire_name = wire
        self._wire = WHOLE if send_request else WIRES[wire]
        self._limits = limits
        patience = Patience(
            limits.timeout_s, limits.deadline_s, max_attempts, limits.max_concurrency
        )
        self._servers = JsonServers(self._urls, patience)
        self._asked = PerLoop(self._connect)

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """Find the documents of one request."""
        with self.usage.counting():
            return await self._find(request if self.honours_noise else _plain(request))

    def identity(self) -> dict[str, Any]:
        """Return the URLs and the wire: servers elsewhere may serve another corpus."""
        about = {"urls": [public_url(url) for url in self._urls], "wire": self._wire_name}
        return {**about, "send_request": True} if self.honours_noise else about

    def check(self) -> None:
        """Check the server by asking for one document, or by a whole request without a query.

        Raises:
            ServiceError: the server cannot be reached, does not speak ``wire``, or has no simulated
                engine to send whole requests to.
        """
        requests = [] if self.honours_noise else [SearchRequest("test", "", (), top_k=1)]
        try:
            run_to_end(self._ask_together(requests))
        except SearchFailure as failure:
            raise ServiceError(f"no retrieval server: {failure} Is `url` right?") from None

    def close(self) -> None:
        """Close the connections."""
        self._servers.close()

    async def _find(self, request: SearchRequest) -> SearchResult:
        batcher, flights = self._asked.get()
        found = flights.run(request, lambda: batcher(request))
        try:
            result = await asyncio.wait_for(found, self._limits.deadline_s)
        except asyncio.TimeoutError:
            names = ", ".join(map(public_url, self._urls))
            raise SearchFailure(
                f"no answer from {names}; the deadline of {self._limits.deadline_s:g} s has passed."
            ) from None
        if result.failure is not None:
            raise result.failure
        return result

    def _connect(
        self,
    ) -> tuple[Batcher[SearchRequest, SearchResult], SingleFlight[SearchResult]]:
        batcher = Batcher(
            self._ask,
            max_size=self._limits.max_batch_size if self._wire.takes_batches else 1,
            max_in_flight=self._limits.max_concurrency,
        )
        return batcher, SingleFlight()

    async def _ask(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Return the result of each request of a batch; some may have to be sent apart."""
        groups: dict[Hashable, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(self._wire.shared(request), []).append(number)
        answers = await asyncio.gather(
            *(self._ask_group([requests[number] for number in group]) for group in groups.values())
        )
        results: dict[int, SearchResult] = {}
        for group, found in zip(groups.values(), answers, strict=True):
            results |= zip(group, found, strict=True)
        return [results[number] for number in range(len(requests))]

    async def _ask_group(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Return the result of each request; if they fail together, ask for each one alone."""
        try:
            return await self._ask_together(requests)
        except SearchFailure as failure:
            if len(requests) == 1:
                return [SearchResult(failure=failure)]
        # One request may have made all of them fail.
        alone = await asyncio.gather(*(self._ask_group([request]) for request in requests))
        return [result for [result] in alone]

    async def _ask_together(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        return await self._servers.ask(
            lambda answer: self._wire.read(answer, requests), payload=self._wire.payload(requests)
        )


def _plain(request: SearchRequest) -> SearchRequest:
    """Return ``request`` with nothing but what a server without noise is told."""
    return SearchRequest(request.query, "", (), top_k=request.top_k)


load = RetrievalEngine
