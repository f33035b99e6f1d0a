"""What sentences of the embedded world say about a statement: doubt, a date, a correction.

A reader can tell by them what not to believe.
"""

from __future__ import annotations

import re

HEDGES = (
    "It is said that {s}",
    "I think that {s}",
    "Perhaps {s}",
    "Some people believe that {s}",
)
"""Sentences that give a statement as doubtful."""

EITHER = "{a} or {b}"
"""Objects of a vague statement."""

DATED = "As of {year}, {s}"
"""Sentence that says when a statement held."""

CORRECTED = "{s} But a newer page of {year} denies this."
"""Statement that a newer page contradicts, as that sentence says."""

_DATE = re.compile(r"As of (\d+), (.+)", re.DOTALL)
_CORRECTION = re.compile(
    CORRECTED.removeprefix("{s} ").rstrip(".").format(year=r"\d+"), re.IGNORECASE
)
_HEDGE = re.compile("|".join(hedge.format(s="") for hedge in HEDGES))


def inside(sentence: str) -> str:
    """Return ``sentence`` as it stands within another one: a leading article in lower case."""
    return "the " + sentence[4:] if sentence.startswith("The ") else sentence


def hedged(sentence: str, kind: int) -> str:
    """Return ``sentence`` with the hedge number ``kind``."""
    return HEDGES[kind].format(s=inside(sentence))


def dated(sentence: str, year: str) -> str:
    """Return ``sentence`` with the year in which it held."""
    return DATED.format(year=year, s=inside(sentence))


def corrected(sentence: str, year: str) -> str:
    """Return ``sentence`` and another one that denies it."""
    return CORRECTED.format(year=year, s=sentence)


def split_date(sentence: str) -> tuple[int | None, str]:
    """Return the year of a dated sentence, or None, and the statement in it."""
    match = _DATE.fullmatch(sentence)
    if match is None:
        return None, sentence
    return int(match[1]), _outside(match[2])


def without_hedge(sentence: str) -> str:
    """Return the statement in a sentence, whether it is hedged or not."""
    match = _HEDGE.match(sentence)
    return _outside(sentence[match.end() :]) if match else sentence


def is_correction(sentence: str) -> bool:
    """Return whether ``sentence``, without its full stop, denies the one before."""
    return _CORRECTION.fullmatch(sentence) is not None


def _outside(statement: str) -> str:
    return "The " + statement[4:] if statement.startswith("the ") else statement
