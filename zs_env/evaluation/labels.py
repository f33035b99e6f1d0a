"""Names of questions, engines, methods and models in records: as they were written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zs_env.loading import parse_spec

_QUERY_STRING = re.compile(r"(https?://[^\s?]*)\?\S*", re.IGNORECASE)


def label_of(kind: str, thing: Any) -> str:
    """Return a name for ``thing``; objects are called by their class.

    What may be secret in a URL is left out.

    Args:
        kind: name of the argument, for messages.
        thing: written form of a thing with options, or an object.
    """
    if isinstance(thing, str | Path | Mapping):
        name, options = parse_spec(kind, thing)
        listed = [f"{key}={_written(value)}" for key, value in options.items()]
        return ",".join([_written(name), *listed])
    if callable(thing) and hasattr(thing, "__qualname__"):
        return f"{thing.__module__}:{thing.__qualname__}"
    return type(thing).__name__


def _written(value: Any) -> str:
    shown = _without_secrets(value)
    return shown if isinstance(shown, str) else json.dumps(shown)


def _without_secrets(value: Any) -> Any:
    """Leave out the query of each URL; what is not JSON becomes a text."""
    if isinstance(value, Mapping):
        return {str(key): _without_secrets(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(part) for part in value]
    if value is None or isinstance(value, int | float):
        return value
    return _QUERY_STRING.sub(r"\1", str(value))
