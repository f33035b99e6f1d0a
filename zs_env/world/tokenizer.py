"""Word-level tokenizer of the embedded world, in plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zs_env.world.text import tokenize, vocabulary

PADDING, END_OF_TEXT, UNKNOWN = "[pad]", "[end]", "[unknown]"
SPECIAL_TOKENS = (PADDING, END_OF_TEXT, UNKNOWN)


def token_list(size: str = "small") -> tuple[str, ...]:
    """Return the tokens in order of id: special tokens, then the vocabulary of ``size``."""
    return (*SPECIAL_TOKENS, *vocabulary(size))


class WorldTokenizer:
    r"""Tokenizer with a token for each lower-case word, tag and mark of a closed vocabulary.

    Printable ASCII text gets the ids that the tokenizer of the bundled policy gives it
    (``agents/tiny/tokenizer.py``), which needs transformers. Text that spells a special token never
    gets its id, so that no document can end a turn.

    Args:
        size: size of the world. ``tiny`` has at most 128 tokens; the other sizes share one list.

    Raises:
        ValueError: the size is unknown.

    Attributes:
        tokens: token of each id, tuple of str.
        pad_token_id: id of padding.
        eos_token_id: id of end-of-text.
        unk_token_id: id of all words that are not in the vocabulary.
        all_special_tokens: padding, end-of-text and unknown, list of str.

    Example:
        >>> tokenizer = WorldTokenizer("tiny")
        >>> tokenizer.decode(tokenizer.encode("<search>Birthplace of\nKafka</search>"))
        '<search> birthplace of [unknown] </search>'
    """

    def __init__(self, size: str = "small") -> None:
        self.size = size
        self.tokens = token_list(size)
        self.all_special_tokens = list(SPECIAL_TOKENS)
        self._ids = {token: token_id for token_id, token in enumerate(self.tokens)}
        self.pad_token_id, self.eos_token_id, self.unk_token_id = map(
            self._ids.__getitem__, SPECIAL_TOKENS
        )

    def __len__(self) -> int:
        """Return the number of tokens, the special ones included."""
        return len(self.tokens)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        """Pickle as the size."""
        return type(self), (self.size,)

    def __repr__(self) -> str:
        """Return the call that makes this tokenizer."""
        return f"WorldTokenizer({self.size!r})"

    def encode(self, text: str, *, add_special_tokens: bool = False, **options: Any) -> list[int]:
        """Return the ids of ``text``; no special tokens are added, and options are ignored."""
        # Special tokens contain brackets, which the pattern splits: text never gets their ids.
        find, unknown = self._ids.get, self.unk_token_id
        return [find(token, unknown) for token in tokenize(text)]

    def decode(self, token_ids: Iterable[int]) -> str:
        """Return the tokens of ``token_ids``, joined by spaces, special ones included.

        Raises:
            ValueError: an id is not in [0, number of tokens).
        """
        return " ".join([self._token(token_id) for token_id in token_ids])

    def token_id(self, token: str) -> int:
        """Return the id of a token, also of a special one; that of unknown if there is none."""
        return self._ids.get(token, self.unk_token_id)

    def _token(self, token_id: int) -> str:
        if not 0 <= token_id < len(self.tokens):
            raise ValueError(f"token ids must be in [0, {len(self.tokens)}), got {token_id}.")
        return self.tokens[token_id]
