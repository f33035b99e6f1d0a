"""Parsing and checking of requests to the retrieval server."""

from __future__ import annotations

import json
from typing import NamedTuple, NoReturn

MAX_QUERIES = 10_000
MAX_TOP_K = 1000
MAX_DOCUMENTS = 30_000
"""Most documents of a request: number of queries times top_k."""

MAX_QUERY_CHARS = 4096
"""Characters of a query that are used; the rest of a longer one is ignored."""


class RetrievalRequest(NamedTuple):
    """Checked request.

    Attributes:
        queries: queries, each cut at `MAX_QUERY_CHARS` characters.
        top_k: number of documents for each query.
        return_scores: whether the answer gives each document's score.
    """

    queries: list[str]
    top_k: int
    return_scores: bool

    @classmethod
    def parse(cls, body: bytes, top_k: int) -> RetrievalRequest:
        """Parse the body of a request.

        Args:
            body: body of the request, JSON.
            top_k: value of ``topk`` if it is missing or null.

        Raises:
            ValueError: the body is malformed or asks for too much; the message is for the client.
        """
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the body must be JSON: {error}.") from None
        if not isinstance(fields, dict):
            _refuse("the body", "a JSON object", fields)
        wanted = fields.get("topk")
        request = cls(
            _check_queries(fields.get("queries")),
            check_top_k(top_k if wanted is None else wanted),
            _check_bool(fields.get("return_scores", False)),
        )
        num_documents = len(request.queries) * request.top_k
        if num_documents > MAX_DOCUMENTS:
            _refuse("`queries` by `topk`", f"at most {MAX_DOCUMENTS} documents", num_documents)
        return request


def check_top_k(top_k: object) -> int:
    """Return ``top_k`` if it can be served.

    Raises:
        ValueError: it is not an integer, or is out of range.
    """
    if type(top_k) is not int or not 1 <= top_k <= MAX_TOP_K:
        _refuse("`topk`", f"an integer from 1 to {MAX_TOP_K}, or null", top_k)
    return top_k


def _check_queries(queries: object) -> list[str]:
    if not (isinstance(queries, list) and all(isinstance(query, str) for query in queries)):
        _refuse("`queries`", "a list of strings", queries)
    if len(queries) > MAX_QUERIES:
        _refuse("the number of `queries`", f"at most {MAX_QUERIES}", len(queries))
    return [query[:MAX_QUERY_CHARS] for query in queries]


def _check_bool(return_scores: object) -> bool:
    if not isinstance(return_scores, bool):
        _refuse("`return_scores`", "true or false", return_scores)
    return return_scores


def _refuse(what: str, expected: str, got: object) -> NoReturn:
    raise ValueError(f"{what} must be {expected}, got {json.dumps(got)[:80]}.")
