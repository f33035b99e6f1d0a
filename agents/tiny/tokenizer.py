"""The word-level tokenizer of the embedded world, in the format of transformers."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from zs_env.world.text import LINE_BREAK, TOKEN_PATTERN
from zs_env.world.tokenizer import END_OF_TEXT, PADDING, SPECIAL_TOKENS, UNKNOWN, token_list

PLAIN_CHAT = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""Chat template that passes messages on unchanged."""

_NO_PREFIX = "\0"
_TIGHT = [(f" {mark}", mark) for mark in (".", ",", "?", ":", ")", LINE_BREAK)]
_TIGHT += [(f"{mark} ", mark) for mark in ("(", LINE_BREAK)]


def make_tokenizer(
    words: Sequence[str] | None = None, *, line_breaks: bool = False
) -> PreTrainedTokenizerFast:
    """Make a tokenizer of transformers with the ids of `zs_env.world.tokenizer.WorldTokenizer`.

    Args:
        words: words and tags that it knows beside special tokens; by default those of the world.
        line_breaks: whether line breaks are tokens, and no blanks stand before punctuation marks in
            decoded texts, as a simulation LLM of the world needs it. Messages are then passed on
            unchanged by its chat template. A policy reads and writes no line breaks.
    """
    tokens = token_list() if words is None else (*SPECIAL_TOKENS, *words)
    numbered = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(numbered, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    pattern = f"{TOKEN_PATTERN}|{LINE_BREAK}" if line_breaks else TOKEN_PATTERN
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    if line_breaks:
        tokenizer.decoder = _readable()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PADDING,
        eos_token=END_OF_TEXT,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        **({"chat_template": PLAIN_CHAT} if line_breaks else {}),
    )


def _readable() -> decoders.Decoder:
    """Return a decoder that joins words by blanks, but marks to words, and lines by line breaks."""
    return decoders.Sequence(
        [
            decoders.WordPiece(prefix=_NO_PREFIX, cleanup=False),
            decoders.Fuse(),
            *(decoders.Replace(loose, tight) for loose, tight in _TIGHT),
        ]
    )
