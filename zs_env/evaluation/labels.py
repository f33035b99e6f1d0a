"""Names of questions, engines, methods and models in records: as they were written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zs_env.hidden import text_without_secrets, without_secrets
from zs_env.loading import parse_spec


def label_of(kind: str, thing: Any) -> str:
    """Return a name for ``thing``; objects are called by their class.

    What may be secret in it is hidden (`zs_env.hidden`).

    Args:
        kind: name of the argument, for messages.
        thing: written form of a thing with options, or an object.
    """
    if isinstance(thing, str | Path | Mapping):
        name, options = parse_spec(kind, thing)
        shown = without_secrets(options)
        listed = [f"{option}={_written(value)}" for option, value in shown.items()]
        return ",".join([text_without_secrets(name), *listed])
    if callable(thing) and hasattr(thing, "__qualname__"):
        return f"{thing.__module__}:{thing.__qualname__}"
    return type(thing).__name__


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
