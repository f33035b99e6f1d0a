"""Keys of servers: reading them from the environment, and hiding them in messages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from zs_env.errors import ServiceError
from zs_env.hidden import HIDDEN

PLACEHOLDER = "none"
"""Value that users set where a client requires a key; it is an ordinary word, so not hidden."""


def read_key(variable: str) -> str:
    """Return the key in the environment variable ``variable``; an empty text if there is none.

    Raises:
        ServiceError: the key cannot be sent. The message names the variable, not the key.
    """
    key = os.environ.get(variable, "").strip()
    if key and not (key.isascii() and key.isprintable()):
        raise ServiceError(
            f"the environment variable {variable} must hold a key of printable ASCII characters "
            "on one line; it has others, such as a line break: set it again."
        )
    return key


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with each of ``secrets`` replaced, also in the form it has in a URL."""
    forms = {
        form
        for secret in secrets
        if secret not in ("", PLACEHOLDER)
        for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret))
    }
    if not forms:
        return text
    # The longest first, and all in one pass: a short key must not match in a replacement.
    pattern = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.sub(pattern, HIDDEN, text)
