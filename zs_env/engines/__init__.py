"""Search engines, by name or as objects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zs_env.engines.base import SearchEngine, checked_asearch, checked_search
from zs_env.loading import make_by_name

__all__ = ["ENGINES", "SearchEngine", "checked_asearch", "checked_search", "load_engine"]

ENGINES = {
    "world": "zs_env.engines.world:load",
    "bm25": "zs_env.engines.bm25:load",
    "simulated": "zs_env.engines.simulated:load",
    "retrieval": "zs_env.engines.retrieval:load",
    "google": "zs_env.engines.google:load",
    "cached": "zs_env.engines.cached:load",
}
"""Name -> ``module:function`` that makes the engine from its options."""

KNOWS_THE_WORLD = ("world", "bm25", "cached")
"""The engines that are also told the seed and size of the embedded world, unless options say."""


def load_engine(
    engine: str | Path | SearchEngine,
    engine_options: Mapping[str, Any] | None = None,
    world_seed: int = 0,
    world_size: str = "small",
    *,
    check: bool = True,
) -> SearchEngine:
    """Find the engine that ``engine`` stands for.

    Args:
        engine: a name of `ENGINES`; the path of a ``.jsonl`` corpus, searched by BM25;
            ``"module:Class"``, called with the options; or a `SearchEngine`.
        engine_options: keyword arguments for the engine.
        world_seed: seed of the embedded world, for the engines that search it.
        world_size: size of the embedded world.
        check: see at once whether an engine given by name can be used.

    Raises:
        ValueError: the name is unknown, or options come with an engine that is already made.
        TypeError: an option is unknown, or what was named is no engine.
        ServiceError: what it needs cannot be reached, or refuses.
    """
    if not (engine_options is None or isinstance(engine_options, Mapping)):
        raise TypeError(f"`engine_options` must be a dict, got {engine_options!r}.")
    options = dict(engine_options or {})
    if not isinstance(engine, str | Path):
        return make_by_name("engine", engine, options, ENGINES, SearchEngine)
    name = str(engine)
    if name.endswith(".jsonl"):
        name, options = "bm25", {"corpus": name, **options}
    if name in KNOWS_THE_WORLD:
        options = {"world_seed": world_seed, "world_size": world_size, **options}
    made = make_by_name("engine", name, options, ENGINES, SearchEngine)
    try:
        if check:
            made.check()
    except BaseException:
        made.close()
        raise
    return made
