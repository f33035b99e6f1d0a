"""Held-out queries that engines are compared on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zs_env import keyed_random
from zs_env.errors import SimulationDataError
from zs_env.files import filled_lines, parse_line
from zs_env.question_sources import are_about_the_world
from zs_env.simulation.pair import CARD, HELD_OUT, PAGE, Pair, read_card, read_pairs
from zs_env.simulation.searches import read_searches

World = tuple[int, str]


@dataclass(frozen=True)
class HeldOutQuery:
    """A query that all engines are asked.

    Attributes:
        query: query.
        question: question of the episode that it is of.
        golden_answers: golden answers of the question.
        question_id: question, by which errors are clustered.
        turn: turn of the search, from 0.
        unseen: whether it is about an entity that no pair of the tuning is about; None if the
            source does not say.
    """

    query: str
    question: str
    golden_answers: tuple[str, ...]
    question_id: str = ""
    turn: int = 0
    unseen: bool | None = None


@dataclass(frozen=True)
class Queries:
    """Queries of a source.

    Attributes:
        queries: different queries, in the order in which they are asked.
        world: seed and size of the embedded world that they are about; None if they are about none.
        total: number of different queries in the source.
    """

    queries: tuple[HeldOutQuery, ...]
    world: World | None
    total: int


def read_queries(source: Path, num_queries: int | None = None, seed: int = 0) -> Queries:
    """Read the queries of ``source``: at most ``num_queries``, in a random order.

    Of queries that are the same without case, the first counts.

    Args:
        source: folder of searches or of pairs, of which the held-out ones count; or a file of them.
        num_queries: most queries; None for all.
        seed: seed of the choice.

    Raises:
        SimulationDataError: the source cannot be read, holds no queries with golden answers, or
            queries about several worlds.
    """
    found, worlds = _read_pairs(source) if _are_pairs(source) else _read_searches(source)
    different: dict[str, HeldOutQuery] = {}
    for query in found:
        if any(answer.strip() for answer in query.golden_answers):
            different.setdefault(query.query.lower(), query)
    if not different:
        raise SimulationDataError(f"{source} holds no queries of questions with golden answers.")
    if len(worlds) > 1:
        raise SimulationDataError(
            f"{source} holds queries about {len(worlds)} worlds or about none, {_listed(worlds)}: "
            "measure each of them apart, from a source of its own."
        )
    queries = list(different.values())
    order = keyed_random.permutation(len(queries), "fidelity queries", seed).tolist()
    chosen = tuple(queries[number] for number in order[:num_queries])
    return Queries(chosen, worlds.pop(), len(queries))


def _are_pairs(source: Path) -> bool:
    if source.is_dir():
        return (source / CARD).is_file()
    if not source.is_file():
        return False
    for number, _, line in filled_lines(source):
        return "completion" in parse_line(f"{source}:{number}", line, SimulationDataError)
    return False


def _read_pairs(source: Path) -> tuple[Iterable[HeldOutQuery], set[World | None]]:
    pairs = read_pairs(source, split=HELD_OUT)
    folder = source if source.is_dir() else source.parent
    card = read_card(folder) if (folder / CARD).is_file() else {}
    return map(_query_of, (pair for pair in pairs if pair.label != PAGE)), {_world_of(card)}


def _query_of(pair: Pair) -> HeldOutQuery:
    return HeldOutQuery(
        pair.query, pair.question, pair.golden_answers, pair.question_id, pair.turn, pair.unseen
    )


def _world_of(card: dict[str, Any]) -> World | None:
    """Return the world that all pairs of a folder are about; None if there is not one."""
    sources = card.get("sources", {})
    worlds, datasets = sources.get("worlds", []), sources.get("datasets", {})
    if len(worlds) != 1 or not all(are_about_the_world(name) for name in datasets):
        return None
    [[seed, size]] = worlds
    return int(seed), str(size)


def _read_searches(source: Path) -> tuple[Iterable[HeldOutQuery], set[World | None]]:
    searches = read_searches(source).searches
    queries = (
        HeldOutQuery(s.query, s.question, s.golden_answers, s.question_id, s.turn) for s in searches
    )
    return queries, {search.world for search in searches}


def _listed(worlds: Iterable[World | None]) -> str:
    return ", ".join(sorted(json.dumps(world) for world in worlds))
