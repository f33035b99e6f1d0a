"""The limits of an episode and what it rewards: the same for every episode of an environment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

from zs_env.prompts import PROMPT, QUESTION_FIELD
from zs_env.rewards import RewardFunction, check_reward

DOCUMENT_SLACK = 4
"""Engines aim at `document_words`; a document is only cut where it is this many times as long."""


@dataclass(frozen=True)
class Limits:
    """How long an episode may get, and in which unit that is measured.

    Attributes:
        max_context: most that the transcript may measure.
        turn_reserve: room kept free for the policy's next turn.
        max_action_chars: characters of one turn that are read.
        measure: length of a text, such as its characters (the default) or a
            `zs_env.tokens.encoder.TextEncoder`, which counts tokens.
    """

    max_context: int
    turn_reserve: int
    max_action_chars: int = sys.maxsize
    measure: Callable[[str], int] = len


@dataclass(frozen=True)
class Rules:
    """What is the same for every episode of an environment.

    Attributes:
        max_turns: turns before the episode is truncated; the answer's turn counts. At least 2.
        top_k: documents asked for with each search.
        document_words: about how many words a document has; one is cut at four times as many.
        max_action_chars: characters of one turn that are read; the rest is cut.
        max_context: most that the transcript may measure, in units of the driver's ``measure``.
        turn_reserve: room kept free for the policy's next turn, in the same units.
        reward: scores the final answer: ``f1``, ``exact_match``, ``substring_match`` or a callable
            (prediction, golden_answers) -> float.
        prompt_template: the first observation; holds ``{question}``.

    Raises:
        ValueError: a value is out of its range.
    """

    max_turns: int = 5
    top_k: int = 5
    document_words: int = 30
    max_action_chars: int = 4096
    max_context: int = 32768
    turn_reserve: int = 4096
    reward: str | RewardFunction = "f1"
    prompt_template: str = PROMPT

    def __post_init__(self) -> None:
        """Check the values."""
        _check_least("max_turns", self.max_turns, 2, "one turn to search and one to answer")
        _check_least("top_k", self.top_k, 1, "a search without documents is of no use")
        _check_least("document_words", self.document_words, 1, "an empty document is of no use")
        _check_least("max_action_chars", self.max_action_chars, 32, "the tags alone need 19")
        _check_least("max_context", self.max_context, 1, "the prompt needs room")
        _check_least("turn_reserve", self.turn_reserve, 1, "the policy must have room to write")
        check_reward(self.reward)
        if not isinstance(self.prompt_template, str) or QUESTION_FIELD not in self.prompt_template:
            raise ValueError(
                f"`prompt_template` must be a text that holds {QUESTION_FIELD}, "
                f"got {self.prompt_template!r}."
            )

    @property
    def max_document_words(self) -> int:
        """Words at which a document is cut."""
        return DOCUMENT_SLACK * self.document_words


def _check_least(name: str, value: int, least: int, why: str) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"`{name}` must be an integer, got {value!r}.")
    if value < least:
        raise ValueError(f"`{name}` must be at least {least}, got {value}: {why}.")
