"""Checks of arguments, whose messages say what was expected and what was given."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from numbers import Real
from typing import Any


def as_integer(name: str, value: Any, least: int | None = None) -> int:
    """Return ``value`` as a Python int: random keys must not depend on its integer type.

    Args:
        name: name of the argument, for messages.
        value: value to check.
        least: smallest value allowed; None for no bound.

    Raises:
        TypeError: ``value`` is not an integer.
        ValueError: ``value`` is less than ``least``.
    """
    try:
        if isinstance(value, bool):  # `operator.index` would accept it
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer, got {value!r}.") from None
    if least is not None and number < least:
        raise ValueError(f"`{name}` must be at least {least}, got {number}.")
    return number


def as_share(name: str, value: Any) -> float:
    """Return ``value`` as a float in [0, 1].

    Raises:
        TypeError: ``value`` is not a number.
        ValueError: ``value`` is outside [0, 1].
    """
    if not isinstance(value, Real) or isinstance(value, bool):  # a bool is a Real too
        raise TypeError(f"`{name}` must be a number in [0, 1], got {value!r}.")
    share = float(value)
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"`{name}` must be a number in [0, 1], got {value!r}.")
    return share


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Check that ``value`` is one of ``choices``.

    Raises:
        ValueError: it is none of them; the message names the nearest.
    """
    listed = list(choices)
    if not (isinstance(value, str) and value in listed):  # `in` fails on arrays
        near = suggestion(value, listed)
        raise ValueError(f"`{name}` must be one of {', '.join(listed)}, got {value!r}{near}.")


def suggestion(name: object, known: Iterable[str]) -> str:
    """Return " (did you mean …?)" for the nearest of ``known``, or "" if none is near."""
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
