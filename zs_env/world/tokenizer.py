"""Word-level tokenizer of the embedded world, in plain Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from zs_env.errors import TokenizerError
from zs_env.world.text import tokenize, vocabulary

PADDING, END_OF_TEXT, UNKNOWN = "[pad]", "[end]", "[unknown]"
SPECIAL_TOKENS = (PADDING, END_OF_TEXT, UNKNOWN)


def token_list(size: str = "small") -> tuple[str, ...]:
    """Return the tokens in order of id: special tokens, then the vocabulary of ``size``."""
    return (*SPECIAL_TOKENS, *vocabulary(size))


def tokens_of(tokenizer: Any) -> tuple[str, ...]:
    """Return the tokens of a tokenizer with ``get_vocab``, in order of id."""
    ids: dict[str, int] = tokenizer.get_vocab()
    return tuple(sorted(ids, key=ids.__getitem__))


def is_outdated(tokens: Sequence[str]) -> bool:
    """Return whether ``tokens`` are an earlier list of the world: new ones come behind the old.

    The list of the tiny world has no earlier one.
    """
    present = token_list()
    count = len(tokens)
    return len(SPECIAL_TOKENS) < count < len(present) and tuple(tokens) == present[:count]


def check_vocabulary(tokenizer: Any, size: str = "small") -> None:
    """Check that a policy about the embedded world does not lack words that came after it.

    Args:
        tokenizer: of the policy; any that does not come from the world's vocabulary is accepted.
        size: size of the world. Words of ``tiny`` do not change, and every policy knows them.

    Raises:
        TokenizerError: it has an earlier vocabulary; the message says what to do.
    """
    if size == "tiny" or not hasattr(tokenizer, "get_vocab"):
        return  # a `WorldTokenizer` always has the present one
    count, present = len(tokenizer), len(token_list())
    # The length first: large vocabularies are slow to list.
    if count < present and is_outdated(tokens_of(tokenizer)):
        place = getattr(tokenizer, "name_or_path", "") or "OLD"
        raise TokenizerError(
            f"the policy in {place} has the vocabulary of an earlier version: {count:,} tokens of "
            f"the embedded world, which has {present:,} now. Convert it by `python -m "
            f"agents.tiny.convert {place} NEW`, and train or evaluate NEW, which knows the same "
            "words as before; or train a policy again. The run that it comes from cannot be "
            "resumed: begin another one with `--model NEW`."
        )


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
