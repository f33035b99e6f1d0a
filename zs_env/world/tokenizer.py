"""The word-level tokenizer of the embedded world, in plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zs_env.world.text import tokenize, vocabulary

PADDING, END_OF_TEXT, UNKNOWN = "[pad]", "[end]", "[unknown]"
SPECIAL_TOKENS = (PADDING, END_OF_TEXT, UNKNOWN)


def token_list(size: str = "small") -> tuple[str, ...]:
    """The token of each id: the special ones, then `zs_env.world.text.vocabulary` of ``size``."""
    return (*SPECIAL_TOKENS, *vocabulary(size))


class WorldTokenizer:
    r"""A token for each word, tag and mark of a world's closed vocabulary; lower case.

    Printable ASCII text gets the ids that the tokenizer of the bundled policy gives it
    (``agents/tiny/tokenizer.py``), which needs transformers. A text that spells a special token
    never gets its id, so that no document can end a turn.

    Args:
        size: of the world. ``tiny`` has at most 128 tokens; the other sizes share theirs.

    Raises:
        ValueError: the size is unknown.

    Attributes:
        tokens: the token of each id, tuple of str.
        pad_token_id: the id of padding.
        eos_token_id: the id of end-of-text.
        unk_token_id: the id of every word that is not in the vocabulary.
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
        """Number of tokens, the special ones included."""
        return len(self.tokens)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        """Pickle as the size."""
        return type(self), (self.size,)

    def __repr__(self) -> str:
        """The call that makes this tokenizer."""
        return f"WorldTokenizer({self.size!r})"

    def encode(self, text: str, *, add_special_tokens: bool = False, **options: Any) -> list[int]:
        """The ids of ``text``. There are no special tokens to add, and no options to heed."""
        find, unknown = self._ids.get, self.unk_token_id
        return [find(token, unknown) for token in tokenize(text)]

    def decode(self, token_ids: Iterable[int]) -> str:
        """The tokens of ``token_ids``, joined by spaces, special ones included.

        Raises:
            ValueError: an id is not in [0, number of tokens).
        """
        return " ".join([self._token(token_id) for token_id in token_ids])

    def token_id(self, token: str) -> int:
        """The id of one token, special ones included; that of unknown if there is no such token."""
        return self._ids.get(token, self.unk_token_id)

    def _token(self, token_id: int) -> str:
        if not 0 <= token_id < len(self.tokens):
            raise ValueError(f"token ids must be in [0, {len(self.tokens)}), got {token_id}.")
        return self.tokens[token_id]
