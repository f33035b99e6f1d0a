"""Limit of the requests under way at a server, which follows from how it answers."""

from __future__ import annotations

FIRST = 256
"""Limit at the beginning: as many at once may be too many for a server that nobody has tried."""

GROWTH = 16
"""A limit that was halved grows by one part in so many, at least by 1, a window of answers."""

LEAST_SHARE = 8
"""One sign of overload leaves at least one part in so many of a limit."""


class AdaptiveLimit:
    """Limit that is halved when a server is overloaded, and grows again while it answers well.

    Additive increase and multiplicative decrease as in TCP (RFC 5681). Half of what is under way
    remains, at most half of the limit. The requests that are under way then, a window, say nothing
    more: a hundred that are refused together halve it once. It grows by a step after as many
    answers as it allows; until the first sign of overload, by 1 with each answer. It grows only
    while it is used to the full: what was never under way was never tested.

    Args:
        most: highest limit.

    Attributes:
        allowed: most requests under way at the same time, in [1, ``most``].
        window: number of the window; a request keeps that in which it was sent, for `shrink`.
    """

    def __init__(self, most: int) -> None:
        self.allowed = min(most, FIRST)
        self.window = 0
        self._most = most
        self._num_answers = 0

    def grow(self, in_flight: int) -> None:
        """Count an answer that came while ``in_flight`` requests, it included, were under way."""
        if self.allowed == self._most or in_flight < self.allowed:
            return
        self._num_answers += 1
        if self.window == 0:
            self.allowed += 1
        elif self._num_answers >= self.allowed:
            step = max(1, self.allowed // GROWTH)
            self.allowed = min(self.allowed + step, self._most)
            self._num_answers = 0

    def shrink(self, window: int, in_flight: int) -> None:
        """Halve the limit, unless it was halved after the overloaded request was sent.

        Args:
            window: `window` when the request was sent.
            in_flight: number of requests that are under way, it included.
        """
        if window == self.window:
            half = min(self.allowed, in_flight) // 2
            self.allowed = max(half, self.allowed // LEAST_SHARE, 1)
            self.window += 1
            self._num_answers = 0
