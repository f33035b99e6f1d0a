"""Options of a run from a file: one of ``agents/configs``, one of your own, or another run's."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from agents.training.config import Config
from zs_env.checks import suggestion

C = TypeVar("C", bound=Config)

CONFIGS = Path(__file__).parent.parent / "configs"
"""Folder of the files that have names."""

NO_OPTIONS = ("architectures",)
"""Files in it that hold no options."""

WRITTEN_BY_RUNS = ("policy_prompt",)
"""Fields of a run's ``config.json`` that a run finds out itself."""


def find_config(named: str) -> Path:
    """Return the file of options that is meant by ``named``.

    Args:
        named: path of a file, which ends in ``.json`` or names a folder, as ``./options`` does; or
            the name of a file in `CONFIGS`, without ``.json``.

    Raises:
        ValueError: no file there has that name; the message lists those that are there.
    """
    if named.endswith(".json") or any(mark in named for mark in "/\\"):
        return Path(named)
    known = sorted(p.stem for p in CONFIGS.glob("*.json") if p.stem not in NO_OPTIONS)
    if named in known:
        return CONFIGS / f"{named}.json"
    raise ValueError(
        f"`config` must be a name in agents/configs ({', '.join(known)}), or a file, such as "
        f"options.json or ./options, got {named!r}{suggestion(named, known)}."
    )


def read_config(path: Path, kind: type[C]) -> C:
    """Read options from a JSON object in ``path``; those that it does not hold have their defaults.

    The ``config.json`` of a run is such a file, too.

    Args:
        path: the file.
        kind: class of the options, which belongs to an algorithm.

    Raises:
        ValueError: the file cannot be read, an option is unknown (the message names the nearest),
            or a value is wrong.
    """
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"`config` {path} cannot be read: {error}.") from None
    if not isinstance(options, dict):
        raise ValueError(f"`config` {path} must hold a JSON object of options by name.")
    types_by_name = get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    for name in options:
        if name not in known:
            raise ValueError(
                f"`config` {path} has {name!r}, and {kind.__name__} has no such option"
                f"{suggestion(name, known)}."
            )
    try:
        return kind(
            **{
                name: _convert(name, value, types_by_name[name])
                for name, value in options.items()
                if name not in WRITTEN_BY_RUNS
            }
        )
    except ValueError as error:
        raise ValueError(f"`config` {path}: {error}") from None


JSON_TYPES: dict[Any, tuple[Any, str]] = {
    bool: (bool, "true or false"),
    int: (int, "an integer"),
    float: ((int, float), "a number"),
    str: (str, "a text"),
    Path: (str, "a text"),
    tuple: (list, "a list"),
    Mapping: (dict, "an object"),
}
"""Type of a JSON value, and its name, by the type of the option."""


def _convert(name: str, value: Any, kind: Any) -> Any:
    """Return the JSON ``value`` as an object of type ``kind``.

    Raises:
        ValueError: it has another type.
    """
    if get_origin(kind) in (Union, types.UnionType):
        if value is None and type(None) in get_args(kind):
            return None
        kind = get_args(kind)[0]  # others, such as functions, cannot stand in a file
    kind = get_origin(kind) or kind
    if kind not in JSON_TYPES:
        return value  # a choice, which the options check
    accepted, called = JSON_TYPES[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"`{name}` must be {called}, got {value!r}.")
    return kind(value) if kind in (Path, tuple, float) else value
