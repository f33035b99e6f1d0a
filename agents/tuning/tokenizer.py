"""The tokenizer of a model that is tuned to write documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.tiny import find_model
from agents.tiny.tokenizer import PLAIN_CHAT, make_tokenizer
from zs_env.tokens.ends import end_of_message, end_of_text
from zs_env.tokens.tokenizers import read_tokenizer
from zs_env.world.tokenizer import check_vocabulary, token_list, tokens_of


def writing_tokenizer(path: str | Path) -> Any:
    """Return the tokenizer of the model ``path``, with a chat template.

    The tokenizer of a policy of the embedded world is replaced by one with the same ids that has
    line breaks. One without a chat template gets one that passes messages on unchanged, behind its
    begin-of-text token if it writes one.

    Raises:
        TokenizerError: it cannot be read, has no end-of-text, or an earlier vocabulary.
    """
    tokenizer = read_tokenizer(find_model(path))
    if len(tokenizer) == len(token_list()) and tokens_of(tokenizer) == token_list():
        return make_tokenizer(line_breaks=True)
    check_vocabulary(tokenizer)
    if not tokenizer.chat_template:
        begins = tokenizer.bos_token and tokenizer.encode("a")[:1] == [tokenizer.bos_token_id]
        tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + PLAIN_CHAT
    return tokenizer


def end_id(tokenizer: Any) -> int:
    """Return the token that ends a completion: the chat template's, or end-of-text."""
    markup = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return next(iter(end_of_message(tokenizer, markup)), end_of_text(tokenizer))
