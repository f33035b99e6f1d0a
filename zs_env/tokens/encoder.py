"""From the texts of the environment to token ids, and from the ids of a turn to its text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from zs_env.actions import STOP, TAG_NAMES, ends_turn
from zs_env.tokens.ends import end_of_text, find_end_ids
from zs_env.tokens.quoting import QuotingEncoder

OTHER_TAGS = {f"{start}{name}>" for name in TAG_NAMES for start in ("<", "</")} - set(STOP)
"""Tags that complete no action."""

REMEMBERED_TEXTS = 16


class Tokenizer(Protocol):
    """What is needed of a tokenizer; those of transformers have it."""

    @property
    def eos_token_id(self) -> int | None:
        """The id of end-of-text."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the ids of a text."""

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of ids."""


class TextEncoder:
    """Encodes the environment's texts, each once: also the measure of an episode in tokens.

    No text of a question or a document becomes a special token, an added token or a tag, see
    `zs_env.tokens.quoting.QuotingEncoder`.

    Args:
        tokenizer: of the policy.
        end_ids: more tokens that end a turn, such as ``model.generation_config.eos_token_id``.

    Raises:
        TokenizerError: the tokenizer has no end-of-text.

    Attributes:
        tokenizer: the tokenizer.
        end_of_text: its end-of-text.
        num_ids: number of ids of the tokenizer; those of its model may be more.
        end_ids: tokens that end a turn, end-of-text first, see `zs_env.tokens.ends.find_end_ids`.

    Example:
        >>> encoder = TextEncoder(tokenizer)  # doctest: +SKIP
        >>> episode = Episode(question, rules, measure=encoder)  # doctest: +SKIP
        >>> trajectory = await rollout(episode, engine, generate, encoder)  # doctest: +SKIP
    """

    def __init__(self, tokenizer: Tokenizer, end_ids: int | Iterable[int] | None = None) -> None:
        self.tokenizer = tokenizer
        self.end_of_text = end_of_text(tokenizer)
        quoting = QuotingEncoder(tokenizer)
        self.num_ids = num_token_ids(tokenizer)
        self.end_ids = find_end_ids(tokenizer, quoting.markup, self.num_ids, end_ids)
        self._ends = frozenset(self.end_ids)
        self._texts: dict[int, str] = {}
        self._encode = lru_cache(maxsize=REMEMBERED_TEXTS)(quoting.encode)

    def __reduce__(self) -> tuple[type, tuple[Tokenizer, tuple[int, ...]]]:
        """Pickle as the arguments, without the texts that are remembered."""
        return type(self), (self.tokenizer, self.end_ids)

    def __call__(self, text: str) -> int:
        """Return the number of tokens of ``text``."""
        return len(self.encode(text))

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of ``text``, without special tokens around it.

        Args:
            text: what others wrote in it is marked if it is a `zs_env.prompts.QuotingText`.
        """
        return self._encode(str(text), getattr(text, "spans", ()))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of a turn, without the token that ended it.

        A model may have more token ids than its tokenizer; those have no text.
        """
        ids = list(token_ids)
        if ids and ids[-1] in self._ends:
            ids.pop()
        return self.tokenizer.decode([token for token in ids if token < self.num_ids])

    def turn_is_over(self, token_ids: Sequence[int], max_tokens: int, since: int = 0) -> bool:
        """Return whether a turn ends with its last token: the rule of every driver and sampler.

        A turn ends at one of ``end_ids``, after ``max_tokens`` tokens, and at the tag that
        completes a search or an answer outside of an open thought.

        Args:
            token_ids: all ids of the turn, at least one.
            max_tokens: most tokens of a turn.
            since: how many of the ids are known to be no whole turn.
        """
        if token_ids[-1] in self._ends or len(token_ids) >= max_tokens:
            return True
        if not any(map(self.may_close, token_ids[since:])):
            return False
        return ends_turn(self.decode(token_ids))

    def may_close(self, token: int) -> bool:
        """Return whether ``token`` may complete an action: it holds the last character of a tag."""
        text = self.token_text(token)
        return ">" in text and text.strip() not in OTHER_TAGS

    def token_text(self, token: int) -> str:
        """Return the text of ``token`` by itself."""
        if token not in self._texts:
            known = token < self.num_ids
            self._texts[token] = self.tokenizer.decode([token]) if known else ""
        return self._texts[token]


def num_token_ids(tokenizer: Any) -> int:
    """Return how many ids the tokenizer knows: its largest id and one.

    One that has neither a vocabulary nor a length is taken to know all of them.
    """
    # The length of a tokenizer is less where its ids have gaps.
    vocabulary: dict[str, int] = getattr(tokenizer, "get_vocab", dict)()
    if vocabulary:
        return max(vocabulary.values()) + 1
    return len(tokenizer) if hasattr(tokenizer, "__len__") else sys.maxsize
