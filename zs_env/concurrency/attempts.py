"""Errors of one attempt at asking a server, and the text of them that is shown."""

from __future__ import annotations

from collections.abc import Sequence

from zs_env.concurrency.keys import hide

DETAIL_CHARS = 200
"""Characters of a server's text that are shown."""

READ_CHARS = 10_000
"""Characters of a server's text in which secrets are looked for, before it is cut."""


class AttemptError(Exception):
    """An attempt at a request failed.

    Args:
        reason: what went wrong, for the user.
        detail: what the server sent; it is shown cut, once secrets in it are hidden.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail

    def shown(self, secrets: Sequence[str]) -> str:
        """Return reason and detail on one line, without ``secrets``."""
        detail = hide(" ".join(self.detail.split())[:READ_CHARS], secrets)[:DETAIL_CHARS]
        printable = "".join(letter if letter.isprintable() else " " for letter in detail)
        return hide(str(self), secrets) + (f": {printable}" if printable else "")


class Retry(AttemptError):
    """An attempt failed in a way that another may not.

    Args:
        reason: what went wrong, for the user.
        detail: what the server sent; it is shown cut, once secrets in it are hidden.
        after_s: seconds that the server asked to wait.
    """

    def __init__(self, reason: str, detail: str = "", after_s: float | None = None) -> None:
        super().__init__(reason, detail)
        self.after_s = after_s


class Refused(AttemptError):
    """A server refused a request for good: another attempt would meet the same."""


def no_answer(expected: str, answer: object) -> Retry:
    """Return the error for JSON that is not what was expected.

    Args:
        expected: what it should be, such as "a chat completion".
        answer: what the server sent.
    """
    try:
        detail = str(answer)
    except RecursionError:
        detail = type(answer).__name__
    return Retry(f"not {expected}", detail)
