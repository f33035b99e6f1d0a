"""Finds the tokenizer that an argument stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zs_env.actions import POLICY_TAGS
from zs_env.errors import MissingDependencyError, TokenizerError
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.ends import end_of_text
from zs_env.world.tokenizer import WorldTokenizer

NEEDED = ("encode", "decode", "eos_token_id", "__len__")
GENERIC_TOKENIZERS = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""Classes of transformers that split text as the files in a folder say."""


def check_tags(encoder: TextEncoder) -> None:
    """Refuse a tokenizer with which a policy could never search or answer.

    Raises:
        TokenizerError: a tag does not come back from its tokens.
    """
    for tag in POLICY_TAGS:
        written = encoder.decode(encoder.encode(tag))
        if written.strip() != tag:
            raise TokenizerError(
                f"`tokenizer` cannot write {tag}: its tokens are read as {written!r}. Add "
                f"{', '.join(POLICY_TAGS)} to it as tokens."
            )


def load_tokenizer(tokenizer: Any, world_size: str = "small") -> Any:
    """Find the tokenizer that ``tokenizer`` stands for.

    Args:
        tokenizer: ``"world"``, the closed vocabulary of the embedded world; the name or folder of
            one of Hugging Face; or an object with ``encode``, ``decode``, ``eos_token_id`` and a
            length.
        world_size: size of the embedded world.

    Raises:
        TokenizerError: it cannot be read, or has no end-of-text.
        TypeError: it is not a tokenizer.
        MissingDependencyError: it needs transformers.
    """
    if isinstance(tokenizer, str) and tokenizer == "world":
        return WorldTokenizer(world_size)
    if isinstance(tokenizer, str | Path):
        return read_tokenizer(tokenizer)
    if missing := [name for name in NEEDED if not hasattr(tokenizer, name)]:
        raise TypeError(
            "`tokenizer` must be 'world', the name or folder of a tokenizer of Hugging Face, "
            f"or a tokenizer, got {tokenizer!r}, which has no {', '.join(missing)}."
        )
    return tokenizer


def read_tokenizer(path: str | Path) -> Any:
    """Return the tokenizer of Hugging Face in the folder, or of the name, ``path``.

    Raises:
        TokenizerError: it cannot be read, or has no end-of-text.
        MissingDependencyError: transformers is not installed.
    """
    try:
        from transformers import AutoTokenizer, PreTrainedTokenizerFast
        from transformers.models.auto.tokenization_auto import get_tokenizer_config
    except ImportError as error:
        raise MissingDependencyError.for_extra(
            f"The tokenizer {str(path)!r}", "transformers", "train"
        ) from error
    try:
        # Some model types bring a class that ignores how the tokenizer in the folder splits text.
        named = get_tokenizer_config(path).get("tokenizer_class")
        cls = PreTrainedTokenizerFast if named in GENERIC_TOKENIZERS else AutoTokenizer
        tokenizer: Any = cls.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise TokenizerError(
            "expected the name or folder of a tokenizer of Hugging Face, or of a model with one, "
            f"got {str(path)!r}, which has none that can be read: {error}"
        ) from None
    end_of_text(tokenizer)
    return tokenizer
