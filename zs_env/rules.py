"""Rules of episodes: limits and reward, the same for every episode of an environment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

from zs_env.prompts import PROMPT, check_prompt_template
from zs_env.rewards import RewardFunction, check_reward

DOCUMENT_SLACK = 4
"""Length at which a document is cut, in multiples of `document_words`, which engines aim at."""


@dataclass(frozen=True)
class Limits:
    """Lengths of an episode, and the unit in which they are measured.

    Attributes:
        max_context: largest length of the transcript.
        turn_reserve: length kept free for the policy's next turn.
        max_action_chars: characters of one turn that are read.
        measure: function from a text to its length, such as its characters (the default) or a
            `zs_env.tokens.encoder.TextEncoder`, which counts tokens.
        max_response: largest length of all behind the prompt, documents included; None leaves it
            to ``max_context``.
    """

    max_context: int
    turn_reserve: int
    max_action_chars: int = sys.maxsize
    measure: Callable[[str], int] = len
    max_response: int | None = None


@dataclass(frozen=True)
class Rules:
    """Limits and reward of every episode of an environment.

    Attributes:
        max_turns: turns after which the episode is truncated, at least 2; the answer's turn counts.
        top_k: documents asked for with each search.
        document_words: words of a document, approximately; it is cut at four times as many.
        max_action_chars: characters of one turn that are read; the rest is cut.
        max_context: largest length of the transcript, in units of the driver's ``measure``.
        turn_reserve: length kept free for the policy's next turn, in the same units.
        reward: score of the final answer: ``f1``, ``exact_match``, ``substring_match``, or a
            callable (prediction, golden_answers) -> float.
        prompt_template: the first observation; holds ``{question}``.
        max_response: most that all behind the prompt may measure, documents included, for trainers
            that limit it apart; None leaves it to ``max_context``.

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
    max_response: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        _check_least("max_turns", self.max_turns, 2, "one turn to search and one to answer")
        _check_least("top_k", self.top_k, 1, "a search without documents is of no use")
        _check_least("document_words", self.document_words, 1, "an empty document is of no use")
        _check_least("max_action_chars", self.max_action_chars, 32, "the tags alone need 19")
        _check_least("max_context", self.max_context, 1, "the prompt needs room")
        _check_least("turn_reserve", self.turn_reserve, 1, "the policy must have room to write")
        if self.max_response is not None:
            why = "a response holds at least one turn, of `turn_reserve`"
            _check_least("max_response", self.max_response, self.turn_reserve, why)
        check_reward(self.reward)
        check_prompt_template(self.prompt_template)

    @property
    def max_document_words(self) -> int:
        """Number of words at which a document is cut."""
        return DOCUMENT_SLACK * self.document_words


def _check_least(name: str, value: int, least: int, why: str) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"`{name}` must be an integer, got {value!r}.")
    if value < least:
        raise ValueError(f"`{name}` must be at least {least}, got {value}: {why}.")
