"""Whether a policy knows the words of the embedded world: one of an older vocabulary does not."""

from __future__ import annotations

from zs_env.errors import TokenizerError
from zs_env.tokens.encoder import TextEncoder
from zs_env.world.text import vocabulary

_SHOWN = 5  # words in a message


def check_words(encoder: TextEncoder, world_size: str, model: str) -> None:
    """Check that a policy knows all words of the worlds of ``world_size``.

    A tokenizer without a token for unknown words, such as one of parts of words, knows all.

    Args:
        encoder: encoder of the policy.
        world_size: size of the worlds.
        model: name of the policy, for the message.

    Raises:
        TokenizerError: it does not.
    """
    unknown = getattr(encoder.tokenizer, "unk_token_id", None)
    if unknown is None:
        return
    missing = [
        word
        for word in vocabulary(world_size)
        if unknown in encoder.tokenizer.encode(word, add_special_tokens=False)
    ]
    if missing:
        raise TokenizerError(
            f"the policy {model} does not know {len(missing)} words of the world {world_size!r}, "
            f"such as {', '.join(missing[:_SHOWN])}: it has an older vocabulary, and weights for "
            "new words cannot be made up. Train it again from the present base policy, as with "
            "`make train`."
        )
