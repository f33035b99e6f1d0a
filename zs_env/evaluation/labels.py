"""Names of questions, engines, methods and models in records: as they were written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zs_env.loading import parse_spec

_QUERY_STRING = re.compile(r"""(https?://[^\s,?"']*)\?[^\s,"']*""")


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
        label = ",".join([name, *listed])
    elif callable(thing) and hasattr(thing, "__qualname__"):
        label = f"{thing.__module__}:{thing.__qualname__}"
    else:
        label = type(thing).__name__
    return _QUERY_STRING.sub(r"\1", label)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
