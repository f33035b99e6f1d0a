"""From the texts of the environment to token ids, and from the ids of a turn to its text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

from zs_env.actions import TAG_NAMES
from zs_env.errors import RolloutError
from zs_env.prompts import INFORMATION_START

TAG_STARTS = tuple(f"{start}{name}>" for name in TAG_NAMES for start in ("<", "</"))
REMEMBERED_TEXTS = 16


class Tokenizer(Protocol):
    """What is needed of a tokenizer; those of transformers have it."""

    @property
    def eos_token_id(self) -> int | None:
        """The id of end-of-text."""

    def encode(self, text: str, *, add_special_tokens: bool, **options: Any) -> list[int]:
        """The ids of a text."""

    def decode(self, token_ids: list[int]) -> str:
        """The text of some ids."""


class TextEncoder:
    """Encodes the environment's texts, each once: also the measure of an episode in tokens.

    Args:
        tokenizer: of the policy.

    Raises:
        RolloutError: the tokenizer has no end-of-text.

    Example:
        >>> encoder = TextEncoder(tokenizer)  # doctest: +SKIP
        >>> episode = Episode(question, rules, measure=encoder)  # doctest: +SKIP
        >>> trajectory = await rollout(episode, engine, generate, encoder)  # doctest: +SKIP
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        if tokenizer.eos_token_id is None:
            raise RolloutError(
                "the tokenizer has no end-of-text token (`eos_token_id` is None): the policy could "
                "not end a turn that holds no action."
            )
        self.tokenizer = tokenizer
        self.end_of_text = int(tokenizer.eos_token_id)
        special_tokens = getattr(tokenizer, "all_special_tokens", ())
        self._special_tokens = [t for t in special_tokens if not t.startswith(TAG_STARTS)]
        self._encode = lru_cache(maxsize=REMEMBERED_TEXTS)(self._encode_anew)

    def __reduce__(self) -> tuple[type, tuple[Tokenizer]]:
        """Pickle as the tokenizer, without the texts that are remembered."""
        return type(self), (self.tokenizer,)

    def __call__(self, text: str) -> int:
        """Number of tokens of ``text``."""
        return len(self._encode(text))

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text``, without special tokens around it."""
        return self._encode(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a turn; end-of-text at its end is no part of it."""
        ids = list(token_ids)
        if ids and ids[-1] == self.end_of_text:
            ids.pop()
        return self.tokenizer.decode(ids)

    def _encode_anew(self, text: str) -> tuple[int, ...]:
        options = {}
        if text.startswith(INFORMATION_START) and any(t in text for t in self._special_tokens):
            # A document that spells a special token, such as end-of-text, must not become one.
            options["split_special_tokens"] = True
        return tuple(self.tokenizer.encode(text, add_special_tokens=False, **options))
