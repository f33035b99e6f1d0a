"""Objects made by name: one written form for a thing with options.

    bm25                                    a name
    bm25,corpus=passages.jsonl              a name with options
    my_package.engines:MyEngine,depth=3     a class or function of your own
    {"name": "bm25", "corpus": "a,b.jsonl"} the same as a mapping, or as JSON text

A value is JSON where it parses as JSON (``3``, ``true``, ``null``), else text. A colon in the name
means ``module:Class`` and nothing else. Values that hold commas need the mapping.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from zs_env.checks import suggestion
from zs_env.hidden import HIDDEN, text_without_secrets

T = TypeVar("T")

Spec = str | Path | Mapping[str, Any]
"""Written form of a thing with options."""


class Named(NamedTuple):
    """A name, or ``module:Class``, and its options."""

    name: str
    options: dict[str, Any]


def parse_spec(kind: str, spec: Spec) -> Named:
    """Read the written form of a thing with options.

    Args:
        kind: name of the argument, for messages.
        spec: ``"name,option=value"``, a mapping with ``name``, the same as JSON text, or a path.

    Raises:
        ValueError: the text cannot be read.
        TypeError: a mapping has no name, or an option's name is not a string.
    """
    if isinstance(spec, Path):
        return Named(str(spec), {})
    if isinstance(spec, str) and not spec.lstrip().startswith("{"):
        return _parse_text(kind, spec)
    mapping = _parse_json(kind, spec) if isinstance(spec, str) else spec
    options = dict(mapping)
    name = options.pop("name", None)
    if not isinstance(name, str | Path) or not all(isinstance(key, str) for key in options):
        raise TypeError(
            f"`{kind}` as a mapping must hold `name`, and options by name, as in "
            f'{{"name": "bm25", "corpus": "passages.jsonl"}}, got the keys '
            f"{', '.join(map(repr, mapping)) or 'none'}."
        )
    return Named(str(name), options)


def make_by_name(
    kind: str, named: object, options: Mapping[str, Any], known: Mapping[str, str], wanted: type[T]
) -> T:
    """Make the object that ``named`` stands for.

    Args:
        kind: name of the argument, for messages.
        named: the written form of a thing with options, or an object of type ``wanted``.
        options: more keyword arguments; those in ``named`` take precedence.
        known: ``module:function`` by name.
        wanted: type that the result must have.

    Raises:
        ValueError: the name is unknown, or options come with an object that is already made.
        TypeError: an option is unknown, or the result is not a ``wanted``.
    """
    # A mapping is always a written form, although it has the methods of a `QuestionSource`.
    if not isinstance(named, str | Path | Mapping) and isinstance(named, wanted):
        if options:
            raise ValueError(
                f"`{kind}` takes options only if it is given by name, got {', '.join(options)} "
                f"with a {type(named).__name__} that is already made."
            )
        return named
    expected = f"`{kind}` must be one of {', '.join(known)}, 'module:Class' or a {wanted.__name__}"
    if not isinstance(named, str | Path | Mapping):
        raise TypeError(f"{expected}, got {type(named).__name__}.")
    name, given = parse_spec(kind, named)
    if name not in known and ":" not in name:
        raise ValueError(f"{expected}, got {name!r}{suggestion(name, known)}.")
    maker = find_callable(kind, known.get(name, name))
    arguments = {**options, **given}
    _check_options(f"{kind} {name!r}", maker, arguments)
    made = maker(**arguments)
    if not isinstance(made, wanted):
        raise TypeError(f"{kind} {name!r} made a {type(made).__name__}, not a {wanted.__name__}.")
    return made


def find_callable(kind: str, entry_point: str) -> Callable[..., Any]:
    """Import the class or function that is written as ``module:Class``.

    Args:
        kind: name of the argument, for messages.
        entry_point: module and attribute, with a colon between them.

    Raises:
        ValueError: it is written otherwise, does not exist, or cannot be imported.
    """
    module, _, attribute = entry_point.partition(":")
    try:
        if not module or not attribute:
            raise AttributeError("it must be written as module:Class")
        maker: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"there is no {kind} {entry_point!r}: {error}.") from None
    except SyntaxError as error:
        raise ValueError(f"{kind} {entry_point!r} cannot be imported: {error}.") from None
    return maker


def _parse_text(kind: str, spec: str) -> Named:
    name, *rest = spec.split(",")
    options: dict[str, Any] = {}
    for part in rest:
        option, equals, value = part.partition("=")
        if not equals or not option.strip():
            raise ValueError(
                f"`{kind}` must be written as name,option=value, got {_shown(part, spec)} in "
                f"{text_without_secrets(spec)!r}; a value that holds a comma needs a mapping (JSON "
                "on a command line)."
            )
        if option.strip() in options:
            raise ValueError(
                f"`{kind}` has the option {option.strip()!r} twice, in "
                f"{text_without_secrets(spec)!r}."
            )
        options[option.strip()] = _read_value(value.strip())
    return Named(name.strip(), options)


def _shown(part: str, spec: str) -> str:
    """Return a part of ``spec`` for a message, unless it may belong to a secret."""
    shown = text_without_secrets(spec)
    return repr(part) if part in shown else HIDDEN


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the latter from JSON nested too deeply
        return text


def _parse_json(kind: str, text: str) -> Mapping[str, Any]:
    try:
        mapping: Mapping[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`{kind}` begins with {{ but is not a JSON object: {error}.") from None
    return mapping


def _check_options(what: str, maker: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Check that no option is unknown or missing, before anything is made."""
    signature = inspect.signature(maker)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    known = [
        n
        for n, p in signature.parameters.items()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    for option in options:  # before `bind`, whose error names no alternative
        if option not in known and not takes_any:
            raise TypeError(
                f"wrong options for {what}: {option!r} is unknown{suggestion(option, known)}; "
                f"expected some of {', '.join(known) or 'none'}."
            )
    try:
        signature.bind(**options)  # raises for missing options
    except TypeError as error:
        raise TypeError(f"wrong options for {what}: {error}.") from None
