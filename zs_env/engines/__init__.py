"""Search engines, by name or as objects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zs_env.engines.base import SearchEngine, checked_asearch, checked_search
from zs_env.llm.bundled import is_bundled
from zs_env.loading import Spec, make_by_name, parse_spec

__all__ = [
    "ENGINES",
    "SearchEngine",
    "checked_asearch",
    "checked_search",
    "knows_only_the_world",
    "load_engine",
]

ENGINES = {
    "world": "zs_env.engines.world:load",
    "bm25": "zs_env.engines.bm25:load",
    "simulated": "zs_env.engines.simulated:load",
    "retrieval": "zs_env.engines.retrieval:load",
    "google": "zs_env.engines.google:load",
    "cached": "zs_env.engines.cached:load",
    "empty": "zs_env.engines.empty:EmptyEngine",
}
"""Functions that make an engine from its options, as ``module:function``, by engine name."""

KNOWS_THE_WORLD = ("world", "bm25", "cached")
"""Engines that also get the seed and size of the embedded world, unless their options set them."""


def load_engine(
    engine: Spec | SearchEngine,
    world_seed: int = 0,
    world_size: str = "small",
    *,
    check: bool = True,
) -> SearchEngine:
    """Make the engine that ``engine`` names; return an engine as it is.

    Args:
        engine: a name of `ENGINES` or ``"module:Class"``, with options as in
            ``"bm25,corpus=passages.jsonl"`` or in a mapping (see `zs_env.loading`); the path of a
            ``.jsonl`` corpus, searched by BM25; or a `SearchEngine`.
        world_seed: seed of the embedded world, for the engines that search it.
        world_size: size of the embedded world.
        check: whether to check at once that an engine given by name can be used.

    Raises:
        ValueError: the name is unknown.
        TypeError: an option is unknown, or the object is not an engine.
        ServiceError: what the engine needs, such as a server, cannot be reached or refuses.
    """
    if not isinstance(engine, str | Path | Mapping):
        return make_by_name("engine", engine, {}, ENGINES, SearchEngine)
    name, options = parse_spec("engine", engine)
    if name.endswith(".jsonl"):
        name, options = "bm25", {"corpus": name, **options}
    if name in KNOWS_THE_WORLD:
        options = {"world_seed": world_seed, "world_size": world_size, **options}
    made = make_by_name("engine", {**options, "name": name}, {}, ENGINES, SearchEngine)
    try:
        if check:
            made.check()
    except BaseException:  # nobody else holds the engine yet
        made.close()
        raise
    return made


def knows_only_the_world(engine: Spec | SearchEngine) -> bool:
    """Return whether ``engine`` names an engine that searches only the embedded world."""
    if not isinstance(engine, str | Path | Mapping):
        return False
    name, options = parse_spec("engine", engine)
    if name == "simulated":
        return is_bundled(options.get("llm"), options.get("model"))
    return name == "world" or (name == "bm25" and not options.get("corpus"))
