"""Errors of one attempt to ask a server, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence

from zs_env.concurrency.keys import hide

DETAIL_CHARS = 200
"""Characters of a server's text that are shown."""

READ_CHARS = 10_000
"""Characters of a server's text that are searched for secrets, before it is cut."""


class AttemptError(Exception):
    """Error of one attempt of a request.

    Args:
        reason: what went wrong, for the user.
        detail: text that the server sent; it is shown cut, with its secrets hidden.
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
    """Error after which another attempt may succeed.

    Args:
        reason: what went wrong, for the user.
        detail: text that the server sent; it is shown cut, with its secrets hidden.
        after_s: wait that the server asked for, in seconds.
        overloaded: whether the server has more requests under way than it can answer.
    """

    def __init__(
        self,
        reason: str,
        detail: str = "",
        after_s: float | None = None,
        *,
        overloaded: bool = False,
    ) -> None:
        super().__init__(reason, detail)
        self.after_s = after_s
        self.overloaded = overloaded


class Refused(AttemptError):
    """Error after which another attempt would fail as well: the server refused the request."""


def no_answer(expected: str, answer: object) -> Retry:
    """Return the error for JSON that is not the expected answer.

    Args:
        expected: description of the expected answer, such as "a chat completion".
        answer: JSON that the server sent.
    """
    try:
        detail = str(answer)
    except RecursionError:
        detail = type(answer).__name__
    return Retry(f"not {expected}", detail)
