"""What must not be shown of things with options: values whose name says that they are secret.

Labels, records, reports and messages hold what this leaves of it. `zs_env.concurrency.keys` hides
keys that are known, wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

HIDDEN = "[secret]"

_SECRET = (
    r"(?:[\w-]*[_-])?(?:keys?|token|auth|pwd|headers?|cookies?|signature|bearer)"
    r"|[\w-]*(?:api|access|auth|secret|private)[_-]?(?:keys?|tokens?)"
    r"|[\w-]*(?:secret|passwo?r?d|passphrase|credential|authori[sz]ation)s?"
)
"""Names of secrets, such as ``api_key``; ``api_key_env`` and ``max_tokens`` are none."""

_NAME = re.compile(_SECRET, re.IGNORECASE)
# A value may hold commas and quotes, so all that follows is hidden.
_GIVEN = re.compile(
    rf"(?<![\w-])((?:{_SECRET})(?:\s*=|[\"']\s*:)\s*)\S.*", re.IGNORECASE | re.DOTALL
)
_QUERY_STRING = re.compile(r"(https?://[^\s?]*)\?\S*", re.IGNORECASE)
_USER = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s/@]*@", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Return whether ``name`` says that the value of an option is secret."""
    return _NAME.fullmatch(name.strip()) is not None


def without_secrets(value: Any) -> Any:
    """Return ``value`` as JSON without secrets; what is not JSON becomes a text.

    Values whose name says that they are secret become `HIDDEN`, and texts are as
    `text_without_secrets` leaves them.
    """
    return _hide(value, text_without_secrets)


def without_named_secrets(value: Any) -> Any:
    """Return ``value`` as JSON with `HIDDEN` for values whose name says that they are secret.

    Texts stay as they are: of a template, each word decides.
    """
    return _hide(value, str)


def named_secrets(value: Any) -> list[str]:
    """Return the texts in ``value`` whose name says that they are secret."""
    if not isinstance(value, Mapping):
        parts = value if isinstance(value, list | tuple) else ()
        return [text for part in parts for text in named_secrets(part)]
    return [
        text
        for name, part in value.items()
        for text in (_texts(part) if is_secret(str(name)) else named_secrets(part))
    ]


def text_without_secrets(text: str) -> str:
    """Return ``text`` without users and query strings of URLs, and what follows ``api_key=``."""
    return _GIVEN.sub(rf"\1{HIDDEN}", _QUERY_STRING.sub(r"\1", _USER.sub(r"\1", text)))


def _hide(value: Any, shown: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {
            str(name): HIDDEN if part and is_secret(str(name)) else _hide(part, shown)
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [_hide(part, shown) for part in value]
    return value if value is None or isinstance(value, int | float) else shown(str(value))


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, list | tuple):
        return [text for part in value for text in _texts(part)]
    return [] if value is None or isinstance(value, bool) else [str(value)]
