"""Asking an engine for the documents of held-out queries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zs_env.documents import SearchRequest, clean_documents
from zs_env.engines import SearchEngine, checked_search, load_engine
from zs_env.engines.usage import Usage
from zs_env.errors import SearchFailure, SimulationDataError
from zs_env.evaluation.identity import weights_in
from zs_env.loading import parse_spec
from zs_env.rules import DOCUMENT_SLACK
from zs_env.settings import Engine
from zs_env.simulation.fidelity.asked import AskedSearch, Asking, Cost
from zs_env.simulation.fidelity.queries import Queries
from zs_env.simulation.fidelity.store import DocumentStore, Kept, key_of

BATCH = 128
"""Searches that an engine is asked at the same time."""

Answers = dict[str, list[AskedSearch | None]]
"""Searches by kind, in the order of the queries; None where the engine gave up."""

Watch = Callable[[str, int, int], None]
"""Function that is shown the name of an engine, and how many searches were answered and failed."""


class EngineGaveUp(SimulationDataError):
    """An engine gave up on all searches of its first batch: it is not asked for the rest."""

    def __init__(self, name: str, number: int, failure: SearchFailure) -> None:
        super().__init__(
            f"the engine {name!r} gave up on all of its first {number} searches: {failure}"
        )


@dataclass(frozen=True)
class Asker:
    """Asks engines the same queries.

    Attributes:
        queries: queries, and the world that they are about.
        asking: how they are asked.
        store: documents that are there already.
        watch: what is shown the progress.
    """

    queries: Queries
    asking: Asking
    store: DocumentStore
    watch: Watch | None = None

    def ask(self, name: str, engine: Engine, kinds: Sequence[str]) -> Answers:
        """Ask ``engine`` all queries, for each of ``kinds``. What is kept is not asked again.

        Args:
            name: name of the engine, for messages.
            engine: engine, as drivers take them.
            kinds: kinds of searches, see `zs_env.simulation.fidelity.asked`.

        Raises:
            EngineGaveUp: the engine gave up on all searches of its first batch, and never answered.
            ServiceError: the engine cannot be used.
        """
        world = self.queries.world
        loaded = load_engine(engine, *(world or ()), check=False)
        try:
            identity = _identity(loaded, engine)
            places = [(kind, query) for kind in kinds for query in self.queries.queries]
            requests = [self.asking.request(query, kind) for kind, query in places]
            keys = [key_of(identity, request) for request in requests]
            missing = {key: request for key, request in zip(keys, requests, strict=True)}
            missing = {key: r for key, r in missing.items() if self.store.get(key) is None}
            kept = sum(key not in missing for key in keys)
            self._show(name, kept, 0)
            if missing:
                loaded.check()
                self._ask(name, loaded, missing, kept > 0)
        finally:
            if loaded is not engine:
                loaded.close()
        answers: Answers = {kind: [] for kind in kinds}
        for (kind, query), key in zip(places, keys, strict=True):
            found = self.store.get(key)
            answers[kind].append(None if found is None else AskedSearch(query, *found))
        return answers

    def _ask(
        self, name: str, engine: SearchEngine, missing: Mapping[str, SearchRequest], works: bool
    ) -> None:
        for keys in _batches(list(missing)):
            requests = [missing[key] for key in keys]
            begun, before = time.perf_counter(), _usage(engine)
            results = checked_search(engine, requests)
            cost = _cost(keys, time.perf_counter() - begun, before, _usage(engine))
            found, failure = [], None
            for key, request, result in zip(keys, requests, results, strict=True):
                if result.failure is not None:
                    failure = result.failure
                    continue
                most = DOCUMENT_SLACK * request.document_words
                documents = tuple(clean_documents(result.documents, most))
                found.append((key, request, Kept(documents, cost)))
            self.store.add(name, found)
            works = works or bool(found)
            self._show(name, len(found), len(keys) - len(found))
            if failure is not None and not works:  # a dead server would fail for hours
                self._show(name, 0, len(missing) - len(keys))
                raise EngineGaveUp(name, len(keys), failure)

    def _show(self, name: str, answered: int, failed: int) -> None:
        if self.watch is not None:
            self.watch(name, answered, failed)


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), BATCH):
        yield keys[start : start + BATCH]


def _usage(engine: SearchEngine) -> Usage | None:
    return None if engine.usage is None else replace(engine.usage)


def _cost(keys: Sequence[str], seconds: float, before: Usage | None, after: Usage | None) -> Cost:
    count = len(keys)
    if before is None or after is None:
        return Cost(keys[0], seconds / count)
    return Cost(
        keys[0],
        seconds / count,
        (after.prompt_tokens - before.prompt_tokens) / count,
        (after.completion_tokens - before.completion_tokens) / count,
        (after.api_searches - before.api_searches) / count,
    )


def _identity(engine: SearchEngine, spec: Engine) -> dict[str, Any]:
    """Return what decides the answers of an engine, with the weights of a model in a folder.

    Also of one that is served from that folder.
    """
    try:
        identity = dict(engine.identity())
    except NotImplementedError:
        identity = {"engine": spec if isinstance(spec, str) else type(engine).__qualname__}
    if isinstance(spec, str | Mapping):
        folder = parse_spec("engine", spec).options.get("model")
    else:
        folder = getattr(getattr(engine, "llm", None), "model", None)
    if folder and isinstance(folder, str | Path) and (weights := weights_in(folder)) is not None:
        identity["weights"] = weights
    return {"class": f"{type(engine).__module__}:{type(engine).__qualname__}", **identity}
