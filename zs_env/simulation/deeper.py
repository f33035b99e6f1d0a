"""More results of the same query than a policy saw: what noisy documents are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from zs_env.documents import Document, SearchRequest, clean_documents
from zs_env.engines import SearchEngine, checked_search, load_engine
from zs_env.errors import SearchFailure, SimulationDataError
from zs_env.loading import parse_spec
from zs_env.rules import DOCUMENT_SLACK
from zs_env.settings import Engine
from zs_env.simulation.searches import CollectedSearch

AUTO, NONE = "auto", "none"

HELD_BACK = 2
"""Results that are asked for, as a multiple of ``depth``, where pages are held out."""
BATCH = 256

Place = tuple[str, tuple[int, str] | None, str]
"""Engine, world and query: what decides the results."""


class Deeper(NamedTuple):
    """Results by engine, world and query.

    Attributes:
        results: the results, best first, cleaned and cut.
        asked: number of queries that an engine was asked.
        failed: number of those on which it gave up.
        top_k: numbers of results that it was asked for.
    """

    results: dict[Place, tuple[Document, ...]]
    asked: int = 0
    failed: int = 0
    top_k: tuple[int, ...] = ()


def place_of(search: CollectedSearch) -> Place:
    """Return what decides the results of a search."""
    return search.engine, search.world, search.query


def find_deeper(
    searches: Sequence[CollectedSearch],
    engine: Engine = AUTO,
    depth: int = 12,
    document_words: int = 30,
    watch: Callable[[int, int], None] | None = None,
) -> Deeper:
    """Ask for the first ``depth`` results of each query that has fewer, once for each.

    Args:
        searches: searches.
        engine: engine to ask, as drivers take them; ``auto`` asks the engine that a search is
            of if that is BM25, which costs nothing and answers as before, and no other one;
            ``none`` asks none.
        depth: number of results; twice as many are asked for in the embedded world, where many
            are pages that must not be shown.
        document_words: words of a document, which is cut at four times as many.
        watch: function that is shown the number of queries so far, and of all.

    Raises:
        SimulationDataError: the engine failed on all of its first queries.
    """
    missing = {} if engine == NONE else _missing(searches, engine, depth)
    results: dict[Place, tuple[Document, ...]] = {}
    asked = failed = 0
    numbers: set[int] = set()
    total = sum(map(len, missing.values()))
    if watch is not None and total:
        watch(0, total)
    for (label, world), queries in missing.items():
        spec = label if engine == AUTO else engine
        results_wanted = depth if world is None else HELD_BACK * depth
        numbers.add(results_wanted)
        loaded = load_engine(spec, *world) if world is not None else load_engine(spec)
        try:
            for start in range(0, len(queries), BATCH):
                batch = queries[start : start + BATCH]
                found, failure = _ask(loaded, batch, results_wanted, document_words)
                results |= {(label, world, query): each for query, each in found.items()}
                if failure is not None and not found and not start:
                    raise SimulationDataError(
                        f"the engine {label!r} cannot be asked for deeper results: {failure}. "
                        "Without them (`none`), natural noise alone is used."
                    )
                asked, failed = asked + len(batch), failed + len(batch) - len(found)
                if watch is not None:
                    watch(asked, total)
        finally:
            if loaded is not spec:
                loaded.close()
    return Deeper(results, asked, failed, tuple(sorted(numbers)))


def _missing(
    searches: Sequence[CollectedSearch], engine: Engine, depth: int
) -> dict[tuple[str, tuple[int, str] | None], list[str]]:
    """Return the queries that have too few results, by engine and world."""
    missing: dict[tuple[str, tuple[int, str] | None], list[str]] = {}
    for search in {place_of(s): s for s in searches if len(s.documents) < depth}.values():
        if engine != AUTO or _is_free(search.engine):
            missing.setdefault((search.engine, search.world), []).append(search.query)
    return missing


def _ask(
    engine: SearchEngine, queries: Sequence[str], depth: int, document_words: int
) -> tuple[dict[str, tuple[Document, ...]], SearchFailure | None]:
    requests = [
        SearchRequest(query, query, ("?",), top_k=depth, document_words=document_words)
        for query in queries
    ]
    found, failure = {}, None
    for query, result in zip(queries, checked_search(engine, requests), strict=True):
        if result.failure is not None:
            failure = result.failure
            continue
        documents = clean_documents(result.documents[:depth], DOCUMENT_SLACK * document_words)
        found[query] = tuple(documents)
    return found, failure


def engine_name(label: str) -> str | None:
    """Return the name of an engine that a search is of; None if its label cannot be read."""
    try:
        return parse_spec("engine", label).name
    except (TypeError, ValueError):
        return None


def _is_free(label: str) -> bool:
    name = engine_name(label) or ""
    return name == "bm25" or name.endswith(".jsonl")
