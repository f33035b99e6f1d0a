"""Wire formats of retrieval servers: what is posted, and how an answer is read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from zs_env.concurrency.attempts import Refused, Retry, no_answer
from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines.corpus import split_contents
from zs_env.errors import SearchFailure

Requests = Sequence[SearchRequest]


class Wire(NamedTuple):
    """Format in which searches are sent to a server.

    Attributes:
        takes_batches: whether several searches may share a request.
        shared: function from a search to what all searches of one request must have in common.
        payload: function from searches to the JSON to post.
        read: function from the JSON of an answer and the searches to a result for each. It raises
            `Retry` if the answer is malformed, and `Refused` if the server is of the wrong kind.
    """

    takes_batches: bool
    shared: Callable[[SearchRequest], Hashable]
    payload: Callable[[Requests], dict[str, Any]]
    read: Callable[[Any, Requests], list[SearchResult]]


def _search_r1_payload(requests: Requests) -> dict[str, Any]:
    return {
        "queries": [request.query for request in requests],
        "topk": max((request.top_k for request in requests), default=1),
        "return_scores": True,
    }


def _read_search_r1(answer: Any, requests: Requests) -> list[SearchResult]:
    try:
        found = [tuple(_read_hit(hit) for hit in hits) for hits in answer["result"]]
    except (LookupError, TypeError, AttributeError):
        raise no_answer("an answer of Search-R1's format", answer) from None
    if len(found) != len(requests):
        raise Retry(f"{len(requests)} queries got {len(found)} results")
    return [
        SearchResult(documents[: request.top_k])
        for documents, request in zip(found, requests, strict=True)
    ]


def _read_hit(hit: Any) -> Document:
    """Return the document of a hit, with or without a score around it."""
    title, text = split_contents(hit.get("document", hit)["contents"])
    return Document(text, title)


def _wiki_payload(requests: Requests) -> dict[str, Any]:
    [request] = requests
    return {"query": request.query, "top_k": request.top_k}


def _read_wiki(answer: Any, requests: Requests) -> list[SearchResult]:
    [request] = requests
    try:
        documents = [Document(hit["text"], hit.get("title") or "") for hit in answer]
    except (LookupError, TypeError, AttributeError):
        raise no_answer("an answer of the wiki format", answer) from None
    return [SearchResult(tuple(documents[: request.top_k]))]


def _whole_payload(requests: Requests) -> dict[str, Any]:
    words = max((request.document_words for request in requests), default=1)
    return {
        **_search_r1_payload(requests),
        "questions": [request.question for request in requests],
        "golden_answers": [list(request.golden_answers) for request in requests],
        "noisy": [request.noisy for request in requests],
        "keys": [request.key for request in requests],
        "turns": [request.turn for request in requests],
        "document_words": words,
        "return_details": True,
    }


def _read_whole(answer: Any, requests: Requests) -> list[SearchResult]:
    results = _read_search_r1(answer, requests)
    failures, honours_noise = answer.get("failures"), answer.get("honours_noise")
    if failures is None or honours_noise is None:
        raise Refused(
            "it ignores whole requests: start it by `zs-env serve-retrieval`, or leave out "
            "`send_request`"
        )
    if not honours_noise:
        raise Refused(
            "it serves a real engine, which has no noisy documents: leave out `send_request`"
        )
    if not isinstance(failures, list) or len(failures) != len(requests):
        raise no_answer(f"an answer with {len(requests)} `failures`", failures)
    return [
        result if failure is None else SearchResult(failure=SearchFailure(str(failure)))
        for result, failure in zip(results, failures, strict=True)
    ]


WIRES = {
    "search-r1": Wire(True, lambda request: None, _search_r1_payload, _read_search_r1),
    "wiki": Wire(False, lambda request: None, _wiki_payload, _read_wiki),
}
"""Wire formats by name. They have places for queries and numbers of documents alone."""

WHOLE = Wire(
    True,
    # A simulated engine writes as many and as long documents as it is told.
    lambda request: (request.top_k, request.document_words),
    _whole_payload,
    _read_whole,
)
"""Wire format of `zs_env.engines.retrieval_server`, with all that a request holds."""
