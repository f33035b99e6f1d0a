"""Which tokens a policy may write next: one mask for each state that a turn can be in."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from zs_env.actions import ANSWER, INFORMATION, POLICY_TAGS, SEARCH, THINK
from zs_env.documents import clean_text
from zs_env.tokens.encoder import TextEncoder

MASKINGS = ("tags", "vocabulary", "none")
SPECIAL_ATTRIBUTES = ("pad_token_id", "unk_token_id", "bos_token_id", "mask_token_id")


class TurnState(IntEnum):
    """How far a turn has come, if it keeps to the template."""

    START = 0
    THOUGHT = 1
    CHOICE = 2
    QUERY_START = 3
    QUERY = 4
    ANSWER_START = 5
    ANSWER = 6


NUM_STATES = len(TurnState)
ANSWER_ONLY = 2 * NUM_STATES
"""The row of the mask at `TurnState.CHOICE` where a search would never be sent."""

TOKENS_TO_CLOSE = np.array([5, 4, 3, 2, 1, 2, 1])
"""Fewest tokens that complete a turn from each `TurnState`: a thought, two tags and a word."""

MIN_TURN_TOKENS = int(TOKENS_TO_CLOSE[TurnState.START])

_S = TurnState
_TEMPLATE: dict[TurnState, dict[str, TurnState]] = {
    _S.START: {f"<{THINK}>": _S.THOUGHT},
    _S.THOUGHT: {"word": _S.THOUGHT, f"</{THINK}>": _S.CHOICE},
    _S.CHOICE: {f"<{SEARCH}>": _S.QUERY_START, f"<{ANSWER}>": _S.ANSWER_START},
    _S.QUERY_START: {"first": _S.QUERY},
    _S.QUERY: {"word": _S.QUERY, f"</{SEARCH}>": _S.START},
    _S.ANSWER_START: {"first": _S.ANSWER},
    _S.ANSWER: {"word": _S.ANSWER, f"</{ANSWER}>": _S.START},
}
"""What may come next in each state, and the state after it; a complete turn starts the next.

A ``word`` cannot be part of a tag, and a ``first`` word is not blank.
"""


class TokenMasks:
    """The masks of a vocabulary. V is the number of its tokens.

    Args:
        encoder: of the policy's tokenizer.
        masking: ``tags`` keeps a turn to the template: a thought, then one search or answer that
            is not blank, no other tags and no parts of tags, and all complete when the tokens of
            the turn are spent;
            ``vocabulary`` forbids only what a policy never writes: padding, other special tokens
            and the tags of documents; ``none`` allows all.
        answer_last: whether ``tags`` forbids searches in the last turn, which are never sent.

    Raises:
        ValueError: the masking is unknown, it is ``tags`` and a tag is not one token, or it is
            not and ``answer_last`` is asked for.

    Attributes:
        table: a row for each state class, shape (state classes, V), int8; no row is empty.
        may_end: tokens that may end a turn, shape (V,), bool.
    """

    def __init__(self, encoder: TextEncoder, masking: str, answer_last: bool = False) -> None:
        if masking not in MASKINGS:
            raise ValueError(f"`masking` must be one of {', '.join(MASKINGS)}, got {masking!r}.")
        if answer_last and masking != "tags":
            raise ValueError(f"`answer_last` needs masking='tags', got {masking!r}.")
        self.masking = masking
        self.answer_last = answer_last
        self._encoder = encoder
        self._by_state = masking == "tags"
        self.size = encoder.num_ids
        texts = [encoder.token_text(token) for token in range(self.size)]
        self._tags = self._find_tags()
        self.may_end = np.array([encoder.may_close(token) for token in range(self.size)])
        self.may_end[list(encoder.end_ids)] = True
        self._next = np.tile(np.arange(NUM_STATES, dtype=np.int64)[:, None], self.size)
        self.table = self._make_table(masking, texts)
        self.table.flags.writeable = False

    def __reduce__(self) -> tuple[type, tuple[TextEncoder, str, bool]]:
        """Pickle as the arguments."""
        return type(self), (self._encoder, self.masking, self.answer_last)

    def after(self, states: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the `TurnState` after ``tokens``; a forbidden token changes nothing."""
        states_after: NDArray[np.int64] = self._next[states, tokens]
        return states_after

    def classes(
        self,
        states: NDArray[np.int64],
        tokens_left: NDArray[np.int64],
        last_turn: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Return the row of `table` for turns in ``states`` with ``tokens_left`` tokens left."""
        if not self._by_state:
            return np.zeros_like(states)
        must_close = tokens_left <= TOKENS_TO_CLOSE[states]
        rows: NDArray[np.int64] = states + NUM_STATES * must_close
        if self.answer_last:
            rows[last_turn & (states == TurnState.CHOICE)] = ANSWER_ONLY
        return rows

    def _make_table(self, masking: str, texts: list[str]) -> NDArray[np.int8]:
        if masking == "none":
            return np.ones((1, self.size), dtype=np.int8)
        words = self._find_words()
        if masking == "tags":
            return self._follow_template(words, texts)
        allowed = words.copy()
        allowed[[self._tags[text] for text in POLICY_TAGS if text in self._tags]] = True
        allowed[list(self._encoder.end_ids)] = True
        table: NDArray[np.int8] = allowed[None].view(np.int8)
        return table

    def _follow_template(self, words: NDArray[np.bool_], texts: list[str]) -> NDArray[np.int8]:
        """Return the mask of each state, then of each state in which the turn must be closed."""
        if missing := [text for text in POLICY_TAGS if text not in self._tags]:
            raise ValueError(
                f"masking='tags' needs each tag to be one token, and this tokenizer splits "
                f"{', '.join(missing)}: add them to it, or use masking='vocabulary'."
            )
        chosen = {tag: self._are([tag]) for tag in POLICY_TAGS}
        chosen["word"] = words & ["<" not in text for text in texts]
        chosen["first"] = chosen["word"] & [_shows(text) for text in texts]
        if not chosen["first"].any():
            raise ValueError("masking='tags' needs words, and this tokenizer has none.")
        allowed = np.zeros((2 * NUM_STATES + 1, self.size), dtype=np.int8)
        allowed[ANSWER_ONLY, chosen[f"<{ANSWER}>"]] = 1
        for state, moves in _TEMPLATE.items():
            for what, after in moves.items():
                tokens = chosen[what]
                allowed[state, tokens] = 1
                self._next[state, tokens] = after
                closes = after is _S.START or TOKENS_TO_CLOSE[after] < TOKENS_TO_CLOSE[state]
                if closes:
                    allowed[NUM_STATES + state, tokens] = 1
        return allowed

    def _find_tags(self) -> dict[str, int]:
        """Tag -> its token, for the tags that are one token."""
        names = [*POLICY_TAGS, f"<{INFORMATION}>", f"</{INFORMATION}>"]
        encoded = {text: self._encoder.encode(text) for text in names}
        return {
            text: ids[0]
            for text, ids in encoded.items()
            if len(ids) == 1 and self._encoder.tokenizer.decode([ids[0]]).strip() == text
        }

    def _find_words(self) -> NDArray[np.bool_]:
        """Return which tokens are neither special nor a tag, shape (V,)."""
        words = ~self._are(self._tags)
        tokenizer = self._encoder.tokenizer
        special = [getattr(tokenizer, name, None) for name in SPECIAL_ATTRIBUTES]
        special += [*self._encoder.end_ids, *getattr(tokenizer, "all_special_ids", ())]
        words[[token for token in special if token is not None]] = False
        return words

    def _are(self, texts: Iterable[str]) -> NDArray[np.bool_]:
        chosen = np.zeros(self.size, dtype=np.bool_)
        chosen[[self._tags[text] for text in texts]] = True
        return chosen


def _shows(text: str) -> bool:
    """Return whether ``text`` surely shows; a part of a character might be blank."""
    return bool(clean_text(text)) and "\ufffd" not in text
