"""What an engine finds for a request to the retrieval server, as JSON."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol, runtime_checkable

from zs_env.concurrency.event_loop import in_thread
from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines.base import SearchEngine, checked_asearch
from zs_env.engines.corpus import Passage, Ranked, join_contents
from zs_env.engines.retrieval_request import RetrievalRequest
from zs_env.errors import SearchFailure

CHUNK = 16
"""Queries that a thread ranks at once; between chunks, the server may stop or serve others."""

NUM_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Most chunks that are ranked at the same time; others wait."""


class AnswerTooLarge(Exception):
    """An answer would be larger than the server sends."""


class Answer(NamedTuple):
    """Documents of one search as a JSON list, or why there are none."""

    documents: str
    failure: SearchFailure | None = None


@runtime_checkable
class RankingEngine(Protocol):
    """Engine that scores its passages, such as BM25; several threads may call it at once."""

    def rank(self, query: str, top_k: int) -> list[Ranked]:
        """Return the passages with the highest scores, best first."""


class Answerer:
    """Answerer of requests, with limits on how much is searched at the same time.

    Args:
        engine: engine that searches.
        max_concurrency: most searches under way at the same time; others wait, and an engine's
            deadlines begin with their search. Engines that rank have `NUM_THREADS` threads.
        max_bytes: largest size of an answer, in bytes of JSON.
    """

    def __init__(self, engine: SearchEngine, max_concurrency: int, max_bytes: int) -> None:
        self._engine = engine
        self._max_bytes = max_bytes
        self._slots = asyncio.Semaphore(max_concurrency)
        self._threads = asyncio.Semaphore(NUM_THREADS)

    async def answer(self, request: RetrievalRequest) -> list[Answer]:
        """Return the answer to each search, in order. Cancelling it ends the searches.

        Raises:
            AnswerTooLarge: the answers are too large to be sent.
            ZeroSearchError: the engine cannot be used any more, such as with a corpus that changed.
        """
        searches, scores = request.searches, request.return_scores
        if isinstance(self._engine, RankingEngine):
            return await self._rank(self._engine, searches, scores)
        answers = await asyncio.gather(*(self._ask(search, scores) for search in searches))
        self._check_size(sum(len(answer.documents) for answer in answers))
        return answers

    async def _rank(
        self, engine: RankingEngine, searches: Sequence[SearchRequest], scores: bool
    ) -> list[Answer]:
        def rank_chunk(chunk: Sequence[SearchRequest]) -> list[Answer]:
            found = (engine.rank(search.query, search.top_k) for search in chunk)
            return [Answer(_encode(ranked, scores)) for ranked in found]

        answers: list[Answer] = []
        size = 0
        for start in range(0, len(searches), CHUNK):
            async with self._threads:
                chunk = await in_thread(rank_chunk, searches[start : start + CHUNK])
            answers += chunk
            size += sum(len(answer.documents) for answer in chunk)
            self._check_size(size)
        return answers

    async def _ask(self, search: SearchRequest, scores: bool) -> Answer:
        if not search.query:  # an engine is never asked for nothing
            return Answer("[]")
        async with self._slots:
            result = await checked_asearch(self._engine, search)
        return Answer(_encode(_ranked(result, search.top_k), scores), result.failure)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise AnswerTooLarge(
                f"an answer must have at most {self._max_bytes} bytes: ask for fewer `queries`, "
                "or for a smaller `topk`."
            )


def _ranked(result: SearchResult, top_k: int) -> list[Ranked]:
    """Return the documents of an engine that has neither ids nor scores.

    An id is a hash of the document, and a score the reciprocal of the rank.
    """
    return [
        Ranked(Passage(_hash(document), document), 1.0 / rank)
        for rank, document in enumerate(result.documents[:top_k], start=1)
    ]


def _hash(document: Document) -> str:
    content = repr((document.title, document.text)).encode()
    return blake2b(content, digest_size=8).hexdigest()


def _encode(found: Sequence[Ranked], with_scores: bool) -> str:
    return json.dumps([_entry(ranked, with_scores) for ranked in found])


def _entry(found: Ranked, with_score: bool) -> dict[str, Any]:
    passage_id, document = found.passage
    encoded = {"id": passage_id, "contents": join_contents(document)}
    return {"document": encoded, "score": found.score} if with_score else encoded
