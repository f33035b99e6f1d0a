"""Search engines, by name or as objects."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zs_env.engines.base import SearchEngine, answer, answer_batch

__all__ = ["ENGINES", "SearchEngine", "answer", "answer_batch", "load_engine"]

ENGINES = {
    "world": "zs_env.engines.world:load",
    "bm25": "zs_env.engines.bm25:load",
}
"""Name -> ``module:function`` that makes the engine from its options."""

KNOWS_THE_WORLD = ("world", "bm25")
"""The engines that are also told the seed and size of the embedded world, unless options say."""


def load_engine(
    engine: str | Path | SearchEngine,
    engine_options: Mapping[str, Any] | None = None,
    world_seed: int = 0,
    world_size: str = "small",
) -> SearchEngine:
    """Find the engine that ``engine`` stands for.

    Args:
        engine: a name of `ENGINES`; the path of a ``.jsonl`` corpus, searched by BM25;
            ``"module:Class"``, called with the options; or a `SearchEngine`.
        engine_options: keyword arguments for the engine.
        world_seed: seed of the embedded world, for the engines that search it.
        world_size: size of the embedded world.

    Raises:
        ValueError: the name is unknown, or options come with an engine that is already made.
        TypeError: an option is unknown, or what was named is no engine.
    """
    if not (engine_options is None or isinstance(engine_options, Mapping)):
        raise TypeError(f"`engine_options` must be a dict, got {engine_options!r}.")
    options = dict(engine_options or {})
    if isinstance(engine, SearchEngine):
        if options:
            raise ValueError(
                f"`engine_options` are for an engine given by name, got {', '.join(options)} "
                f"with a {type(engine).__name__} that is already made."
            )
        return engine
    if not isinstance(engine, str | Path):
        raise TypeError(
            f"`engine` must be a name, a path or a zs_env.SearchEngine, "
            f"got {type(engine).__name__}."
        )
    name = str(engine)
    if name.endswith(".jsonl"):
        name, options = "bm25", {"corpus": name, **options}
    if name not in ENGINES and ":" not in name:
        raise ValueError(
            f"`engine` must be one of {', '.join(ENGINES)}, the path of a .jsonl corpus, "
            f"'module:Class' or a zs_env.SearchEngine, got {name!r}."
        )
    if name in KNOWS_THE_WORLD:
        options = {"world_seed": world_seed, "world_size": world_size, **options}
    return _make(name, options)


def _make(name: str, options: dict[str, Any]) -> SearchEngine:
    maker = _find_maker(ENGINES.get(name, name))
    try:
        inspect.signature(maker).bind(**options)
    except TypeError as error:
        raise TypeError(f"wrong `engine_options` for engine {name!r}: {error}.") from None
    made = maker(**options)
    if not isinstance(made, SearchEngine):
        raise TypeError(f"engine {name!r} made a {type(made).__name__}, not a zs_env.SearchEngine.")
    return made


def _find_maker(entry_point: str) -> Callable[..., Any]:
    module, _, attribute = entry_point.partition(":")
    try:
        maker: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"there is no engine {entry_point!r}: {error}.") from None
    return maker
