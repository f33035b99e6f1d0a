"""The word-level tokenizer of the embedded world, in the format of transformers."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from zs_env.world.text import TOKEN_PATTERN
from zs_env.world.tokenizer import END_OF_TEXT, PADDING, SPECIAL_TOKENS, UNKNOWN, token_list


def make_tokenizer(words: Sequence[str] | None = None) -> PreTrainedTokenizerFast:
    """Make a tokenizer of transformers with the ids of `zs_env.world.tokenizer.WorldTokenizer`.

    Args:
        words: words and tags that it knows beside special tokens; by default those of the world.
    """
    tokens = token_list() if words is None else (*SPECIAL_TOKENS, *words)
    numbered = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(numbered, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(TOKEN_PATTERN), behavior="removed", invert=True
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PADDING,
        eos_token=END_OF_TEXT,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
