"""Finds the tokenizer that an argument stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zs_env.actions import POLICY_TAGS
from zs_env.errors import MissingDependencyError, RolloutError
from zs_env.tokens.encoder import TextEncoder
from zs_env.world.tokenizer import WorldTokenizer

NEEDED = ("encode", "decode", "eos_token_id", "__len__")


def check_tags(encoder: TextEncoder) -> None:
    """Refuse a tokenizer with which a policy could never search or answer.

    Raises:
        ValueError: a tag does not come back from its tokens.
    """
    for tag in POLICY_TAGS:
        written = encoder.decode(encoder.encode(tag))
        if written.strip() != tag:
            raise ValueError(
                f"`tokenizer` cannot write {tag}: its tokens are read as {written!r}. Add "
                f"{', '.join(POLICY_TAGS)} to it as tokens."
            )


def load_tokenizer(tokenizer: Any, world_size: str = "small") -> Any:
    """The tokenizer that ``tokenizer`` stands for.

    Args:
        tokenizer: ``"world"``, the closed vocabulary of the embedded world; the name or folder of
            one of Hugging Face; or an object with ``encode``, ``decode``, ``eos_token_id`` and a
            length.
        world_size: size of the embedded world.

    Raises:
        RolloutError: it cannot be found.
        TypeError: it is not a tokenizer.
        MissingDependencyError: it needs transformers.
    """
    if isinstance(tokenizer, str) and tokenizer == "world":
        return WorldTokenizer(world_size)
    if not isinstance(tokenizer, str | Path):
        if missing := [name for name in NEEDED if not hasattr(tokenizer, name)]:
            raise TypeError(
                "`tokenizer` must be 'world', the name or folder of a tokenizer of Hugging Face, "
                f"or a tokenizer, got {tokenizer!r}, which has no {', '.join(missing)}."
            )
        return tokenizer
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError.for_extra(
            f"The tokenizer {str(tokenizer)!r}", "transformers", "train"
        ) from error
    try:
        return AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise RolloutError(
            f"`tokenizer` must be 'world' or the name or folder of a tokenizer of Hugging Face, "
            f"got {str(tokenizer)!r}: {error}"
        ) from error
