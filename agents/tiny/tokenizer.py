"""The word-level tokenizer of the embedded world, in the format of transformers."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from zs_env.world.text import TOKEN_PATTERN, vocabulary

PADDING, END_OF_TEXT, UNKNOWN = "[pad]", "[end]", "[unknown]"


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each word, tag and mark of `zs_env.world.text.vocabulary`; lower case."""
    words = (PADDING, END_OF_TEXT, UNKNOWN, *vocabulary())
    numbered = {word: number for number, word in enumerate(words)}
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
