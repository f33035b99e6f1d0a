"""Set-up of the token environments: episodes, masks and spaces from their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction
from gymnasium.spaces import Box, Dict, Discrete
from numpy.typing import NDArray

from zs_env.episodes import EpisodeSource
from zs_env.question_sources import world_of
from zs_env.rules import Limits
from zs_env.settings import TokenSettings, make_settings
from zs_env.tokens.batch import TokenBatch, TokenRole
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.masks import MIN_TURN_TOKENS, TokenMasks
from zs_env.tokens.tokenizers import check_tags, load_tokenizer
from zs_env.world.sizes import SIZES


class TokenSetup:
    """Source of episodes, masks and spaces of token environments.

    Args:
        arguments: arguments of the environment, see `zs_env.settings.TokenSettings`.

    Raises:
        ValueError: an argument is out of its range, a question does not fit the context, or the
            tokenizer cannot write a tag.
        TypeError: an argument is unknown or of the wrong type.

    Attributes:
        settings: the checked arguments.
        tokenizer: the tokenizer.
        encoder: encoder of texts with the tokenizer.
        source: source of the episodes.
        masks: masks of the tokens that may be written.
        action_space: action space of one environment, ``Discrete(V)``.
        observation_space: observation space of one environment.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.settings = settings = make_settings(TokenSettings, _with_prompt(arguments))
        least = MIN_TURN_TOKENS if settings.masking == "tags" else 1
        if settings.max_turn_tokens < least:
            raise ValueError(
                f"`max_turn_tokens` must be at least {least}, got {settings.max_turn_tokens}."
            )
        _, world_size = world_of(settings.questions, world_size=settings.world_size)
        self.tokenizer = load_tokenizer(settings.tokenizer, world_size)
        self.encoder = TextEncoder(self.tokenizer)
        check_tags(self.encoder)
        self.masks = TokenMasks(self.encoder, settings.masking, settings.answer_last)
        self.source = EpisodeSource(
            settings,
            Limits(
                max_context=settings.context_length,
                turn_reserve=settings.max_turn_tokens,
                max_action_chars=settings.max_action_chars,
                measure=self.encoder,
            ),
        )
        self.action_space = Discrete(self.masks.size)
        self.observation_space = Dict(
            tokens=Box(0, self.masks.size - 1, (settings.context_length,), np.int32),
            length=Box(0, settings.context_length, (1,), np.int32),
            roles=Box(0, max(TokenRole), (settings.context_length,), np.int8),
        )

    def make_batch(self, num_slots: int) -> TokenBatch:
        """Make a batch with slots for ``num_slots`` episodes."""
        return TokenBatch(
            num_slots,
            self.settings.context_length,
            self.settings.max_turn_tokens,
            self.encoder,
            self.masks,
        )

    def check(self, batch: TokenBatch, actions: Any, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return ``actions``, one a slot of ``batch``, as an array; check those of ``slots``.

        Raises:
            InvalidAction: a token is outside the space, or the mask forbids it and
                ``masked_action`` is ``error``.
        """
        tokens = np.asarray(actions)
        expected = batch.lengths.shape
        if tokens.shape != expected or not np.issubdtype(tokens.dtype, np.integer):
            raise InvalidAction(
                f"actions must be integers of shape {expected}, one token for each environment, "
                f"got {tokens.dtype} of shape {tokens.shape}."
            )
        counting = tokens[slots]
        if counting.size and not 0 <= counting.min() <= counting.max() < self.masks.size:
            raise InvalidAction(
                f"a token must be in [0, {self.masks.size}), got {counting.min()} to "
                f"{counting.max()}."
            )
        # Tokens of other slots may be anything: 0 stands in for those outside the space.
        inside: NDArray[np.int64] = np.where(
            (tokens >= 0) & (tokens < self.masks.size), tokens, 0
        ).astype(np.int64)
        if self.settings.masked_action == "error" and (masked := batch.masked(inside)[slots]).any():
            token = int(counting[masked][0])
            text = self.tokenizer.decode([token])
            raise InvalidAction(
                f"token {token} ({text!r}) may not be written here: choose among those of "
                "`action_masks()`, or make the environment with masked_action='count'."
            )
        return inside


def _with_prompt(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``arguments``; for the world's tokenizer, the default prompt is one in its words."""
    questions = arguments.get("questions", TokenSettings.questions)
    size = arguments.get("world_size", TokenSettings.world_size)
    _, size = world_of(questions, world_size=size)
    tokenizer = arguments.get("tokenizer", TokenSettings.tokenizer)
    if not (isinstance(tokenizer, str) and tokenizer == "world") or size not in tuple(SIZES):
        return arguments  # a wrong size is refused where the world is loaded
    return {"prompt_template": SIZES[size].prompt, **arguments}
