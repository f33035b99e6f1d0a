"""What engines are asked to be compared: kinds of searches, their requests and documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from zs_env import keyed_random
from zs_env.checks import as_integer
from zs_env.documents import Document, SearchRequest
from zs_env.simulation.fidelity.queries import HeldOutQuery

USEFUL, AGAIN, NOISY = "useful", "again", "noisy"
"""Kinds of a search: for useful documents, for useful ones with another seed, for noisy ones."""

BLIND_USEFUL, BLIND_NOISY = "useful without answers", "noisy without answers"
"""The same without golden answers in the request."""

DEEP = "deep"
"""Kind of a search of a real engine: for more documents than are compared."""


@dataclass(frozen=True)
class Asking:
    """How engines are asked.

    Raises:
        ValueError: a number is too small.
        TypeError: one is not an integer.
    """

    top_k: int = 5
    """Documents of a search."""
    document_words: int = 30
    """Words of a document that simulators are asked for."""
    depth: int = 12
    """Results of a query that the real engine is asked for: those from `top_k` on are its noise."""
    seed: int = 0
    """Seed of the choice of queries, of what simulators write, and of the figures."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("top_k", "document_words"):
            as_integer(name, getattr(self, name), 1)
        as_integer("depth", self.depth, self.top_k)
        as_integer("seed", self.seed, 0)

    def request(self, query: HeldOutQuery, kind: str) -> SearchRequest:
        """Return what is asked for ``query``.

        Useful and noisy documents of a query have the same key, which follows from the seed and
        the query; only `AGAIN` has another one.
        """
        blind = kind in (BLIND_USEFUL, BLIND_NOISY)
        draw = int(kind == AGAIN)
        key = keyed_random.derive_key("fidelity", self.seed, query.question, query.query, draw)
        return SearchRequest(
            query=query.query,
            question=query.question,
            golden_answers=() if blind else query.golden_answers,
            noisy=kind in (NOISY, BLIND_NOISY),
            turn=query.turn,
            top_k=self.depth if kind == DEEP else self.top_k,
            document_words=self.document_words,
            key=key,
        )


class Cost(NamedTuple):
    """What a search used: the mean over the searches that were asked at the same time.

    Attributes:
        batch: name of that batch.
        seconds: time of the batch by the clock, over its searches.
        prompt_tokens: tokens that a language model read; None for engines that count nothing.
        completion_tokens: tokens that it wrote.
        api_searches: searches sent to a search API.
    """

    batch: str
    seconds: float
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    api_searches: float | None = None


@dataclass(frozen=True)
class AskedSearch:
    """A search of one engine that did not fail.

    Attributes:
        query: what was asked for.
        documents: documents as a policy would read them, cleaned and cut at four times the words
            that are asked for; as many as the engine gave.
        cost: what it used; None if that is not known.
    """

    query: HeldOutQuery
    documents: tuple[Document, ...]
    cost: Cost | None = None
