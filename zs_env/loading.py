"""Makes what users name: ``"name"``, ``"module:Class"`` or an object that is already made."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def make_by_name(
    kind: str, named: object, options: Mapping[str, Any], known: Mapping[str, str], wanted: type[T]
) -> T:
    """The object that ``named`` stands for.

    Args:
        kind: the argument's name, for messages.
        named: a name, ``"module:Class"``, or an object of type ``wanted``.
        options: keyword arguments for one that is not made yet.
        known: name -> ``module:function``.
        wanted: what it must be.

    Raises:
        ValueError: the name is unknown, or options come with an object that is already made.
        TypeError: an option is unknown, or what was named is not a ``wanted``.
    """
    if isinstance(named, wanted):
        if options:
            raise ValueError(
                f"options are for an `{kind}` given by name, got {', '.join(options)} with a "
                f"{type(named).__name__} that is already made."
            )
        return named
    expected = f"`{kind}` must be one of {', '.join(known)}, 'module:Class' or a {wanted.__name__}"
    if not isinstance(named, str):
        raise TypeError(f"{expected}, got {type(named).__name__}.")
    if named not in known and ":" not in named:
        raise ValueError(f"{expected}, got {named!r}.")
    maker = _find_maker(kind, known.get(named, named))
    try:
        inspect.signature(maker).bind(**options)
    except TypeError as error:
        raise TypeError(f"wrong options for {kind} {named!r}: {error}.") from None
    made = maker(**options)
    if not isinstance(made, wanted):
        raise TypeError(f"{kind} {named!r} made a {type(made).__name__}, not a {wanted.__name__}.")
    return made


def _find_maker(kind: str, entry_point: str) -> Callable[..., Any]:
    module, _, attribute = entry_point.partition(":")
    try:
        maker: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"there is no {kind} {entry_point!r}: {error}.") from None
    return maker
