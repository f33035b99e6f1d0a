"""Keys of servers: reading them from the environment, and hiding them in messages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from zs_env.errors import ServiceError

HIDDEN = "[secret]"

PLACEHOLDER = "none"
"""Text that users set where a client insists on a key; an ordinary word, so it is not hidden."""


def read_key(variable: str) -> str:
    """Return the key in the environment variable ``variable``; an empty text if there is none.

    Raises:
        ServiceError: it cannot be sent. The message names the variable and not the key.
    """
    key = os.environ.get(variable, "").strip()
    if key and not (key.isascii() and key.isprintable()):
        raise ServiceError(
            f"the environment variable {variable} must hold a key of printable ASCII characters "
            "on one line; it has others, such as a line break: set it again."
        )
    return key


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with each of ``secrets`` replaced, also where it stands in a URL."""
    forms = {
        form
        for secret in secrets
        if secret not in ("", PLACEHOLDER)
        for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret))
    }
    if not forms:
        return text
    # The longest first, and all at once: a short key must not be found in what replaced another.
    pattern = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.sub(pattern, HIDDEN, text)
