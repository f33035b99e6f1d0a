"""The tokens that end a turn of a policy."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from zs_env.errors import TokenizerError
from zs_env.tokens.chat import render

GENERATION_CONFIG = "generation_config.json"

_ANSWER = "zebra"
_TURN = ({"role": "user", "content": "animal"}, {"role": "assistant", "content": _ANSWER})


def end_of_text(tokenizer: Any) -> int:
    """Return the token that ends a turn which holds no action.

    Raises:
        TokenizerError: there is none.
    """
    if tokenizer.eos_token_id is None:
        raise TokenizerError(
            "the tokenizer has no end-of-text token (`eos_token_id` is None), so a policy could "
            "not end a turn that holds no action: set `eos_token` in its tokenizer_config.json."
        )
    return int(tokenizer.eos_token_id)


def find_end_ids(
    tokenizer: Any, markup: Collection[int], size: int, more: int | Iterable[int] | None = None
) -> tuple[int, ...]:
    """Return the tokens that end a turn, end-of-text first.

    They are end-of-text, the token that the chat template writes behind a message of the
    assistant, those of the ``generation_config.json`` beside the tokenizer, and ``more``.

    Args:
        tokenizer: tokenizer of the policy.
        markup: its special and added tokens.
        size: number of token ids of the tokenizer; larger ids are left out.
        more: further tokens, as ``eos_token_id`` of a generation config has them.

    Raises:
        TokenizerError: the tokenizer has no end-of-text.
    """
    found = [end_of_text(tokenizer), *end_of_message(tokenizer, markup)]
    found += [*_as_ids(_configured(getattr(tokenizer, "name_or_path", ""))), *_as_ids(more)]
    return tuple(dict.fromkeys(token for token in found if 0 <= token < size))


def end_of_message(tokenizer: Any, markup: Collection[int]) -> list[int]:
    """Return the first special token behind an assistant's message, if there is one.

    Args:
        tokenizer: tokenizer with or without a chat template.
        markup: its special and added tokens.
    """
    if not getattr(tokenizer, "chat_template", None):
        return []
    try:
        text = render(tokenizer, _TURN)
    except Exception:  # what is wrong with the template is said where a prompt is rendered
        return []
    _, found, behind = text.rpartition(_ANSWER)
    ids = tokenizer.encode(behind, add_special_tokens=False) if found else []
    return [token for token in ids if token in markup][:1]


def _configured(name: Any) -> int | list[int] | None:
    """Return the end tokens in the generation config of a folder, or of a hub name once loaded."""
    path = _find_config(str(name))
    try:
        config = json.loads(path.read_text()) if path is not None else {}
    except (OSError, ValueError):
        return None
    ends: int | list[int] | None = config.get("eos_token_id")
    return ends


def _find_config(name: str) -> Path | None:
    if not name:
        return None
    if Path(name).is_dir():
        path = Path(name) / GENERATION_CONFIG
        return path if path.is_file() else None
    try:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(name, GENERATION_CONFIG)
    except (ImportError, ValueError):  # no hub, or no name of one
        return None
    return Path(cached) if isinstance(cached, str) else None


def _as_ids(ends: int | Iterable[int] | None) -> list[int]:
    if ends is None:
        return []
    return [int(ends)] if isinstance(ends, int) else [int(token) for token in ends]
