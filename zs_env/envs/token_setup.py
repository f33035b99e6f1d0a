"""What the arguments of the token environments stand for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction
from gymnasium.spaces import Box, Dict, Discrete
from numpy.typing import NDArray

from zs_env.factory import EpisodeFactory, as_integer, make_factory
from zs_env.tokens.batch import TokenBatch, TokenRole
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.masks import MIN_TURN_TOKENS, TokenMasks
from zs_env.tokens.tokenizers import check_tags, load_tokenizer
from zs_env.world.sizes import SIZES

MASKED_ACTIONS = ("count", "error")


class TokenSetup:
    """The factory, the masks and the spaces of token environments.

    Args:
        tokenizer: see `zs_env.tokens.tokenizers.load_tokenizer`.
        context_length: tokens of an episode, at most.
        max_turn_tokens: tokens of a turn, at most.
        masking: ``tags``, ``vocabulary`` or ``none``, see `zs_env.tokens.masks.TokenMasks`.
        answer_last: whether the mask forbids searches in the last turn; see there too.
        masked_action: what becomes of a token that the mask forbids: ``count`` or ``error``.
        arguments: of `zs_env.factory.EpisodeFactory`.

    Raises:
        ValueError: an argument is out of its range, a question does not fit the context, or the
            tokenizer cannot write a tag.
        TypeError: an argument is of the wrong type.

    Attributes:
        tokenizer: the tokenizer.
        factory: makes the episodes.
        masks: what may be written.
        action_space: ``Discrete(V)``.
        observation_space: of one environment.
    """

    def __init__(
        self,
        tokenizer: Any,
        context_length: int,
        max_turn_tokens: int,
        masking: str,
        answer_last: bool,
        masked_action: str,
        arguments: Mapping[str, Any],
    ) -> None:
        if masked_action not in MASKED_ACTIONS:
            raise ValueError(
                f"`masked_action` must be one of {', '.join(MASKED_ACTIONS)}, got "
                f"{masked_action!r}."
            )
        context_length = as_integer("context_length", context_length)
        max_turn_tokens = as_integer("max_turn_tokens", max_turn_tokens)
        least = MIN_TURN_TOKENS if masking == "tags" else 1
        if max_turn_tokens < least:
            raise ValueError(f"`max_turn_tokens` must be at least {least}, got {max_turn_tokens}.")
        size = arguments.get("world_size", "small")
        if isinstance(tokenizer, str) and tokenizer == "world" and size in SIZES:
            arguments = {"prompt_template": SIZES[size].prompt, **arguments}
        # Tokens are counted, not characters.
        arguments = {"max_action_chars": sys.maxsize, **arguments}
        factory = make_factory({**arguments, "max_context_chars": 2 * sys.maxsize})
        self.tokenizer = load_tokenizer(tokenizer, size)
        self.encoder = TextEncoder(self.tokenizer)
        check_tags(self.encoder)
        self.masks = TokenMasks(self.encoder, masking, answer_last)
        self.factory: EpisodeFactory = factory.measured(
            self.encoder, context_length, max_turn_tokens
        )
        self._context_length = context_length
        self._max_turn_tokens = max_turn_tokens
        self._refuses = masked_action == "error"
        self.action_space = Discrete(self.masks.size)
        self.observation_space = Dict(
            tokens=Box(0, self.masks.size - 1, (context_length,), np.int32),
            length=Box(0, context_length, (1,), np.int32),
            roles=Box(0, max(TokenRole), (context_length,), np.int8),
        )

    def make_batch(self, num_rows: int) -> TokenBatch:
        """Rows for as many episodes."""
        return TokenBatch(
            num_rows, self._context_length, self._max_turn_tokens, self.encoder, self.masks
        )

    def check(self, batch: TokenBatch, actions: Any, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """``actions``, one a row of ``batch``, as an array; those of ``rows`` count.

        Raises:
            InvalidAction: one is outside of the space, or the mask forbids it and it is an error.
        """
        tokens = np.asarray(actions)
        expected = batch.lengths.shape
        if tokens.shape != expected or not np.issubdtype(tokens.dtype, np.integer):
            raise InvalidAction(
                f"actions must be integers of shape {expected}, one token for each environment, "
                f"got {tokens.dtype} of shape {tokens.shape}."
            )
        counting = tokens[rows]
        if counting.size and not 0 <= counting.min() <= counting.max() < self.masks.size:
            raise InvalidAction(
                f"a token must be in [0, {self.masks.size}), got {counting.min()} to "
                f"{counting.max()}."
            )
        inside: NDArray[np.int64] = np.where(
            (tokens >= 0) & (tokens < self.masks.size), tokens, 0
        ).astype(np.int64)
        if self._refuses and (masked := batch.masked(inside)[rows]).any():
            token = int(counting[masked][0])
            text = self.tokenizer.decode([token])
            raise InvalidAction(
                f"token {token} ({text!r}) may not be written here: choose among those of "
                "`action_masks()`, or make the environment with masked_action='count'."
            )
        return inside
