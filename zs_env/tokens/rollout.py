"""One episode against any asynchronous sampler of tokens. Knows neither torch nor any engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zs_env.documents import SearchRequest
from zs_env.engines import SearchEngine, checked_asearch
from zs_env.episode import Episode
from zs_env.tokens.encoder import TextEncoder, Tokenizer
from zs_env.tokens.token_episode import TokenEpisode
from zs_env.tokens.trajectory import Trajectory


class Generate(Protocol):
    """A sampler: a few lines around any inference engine."""

    async def __call__(
        self, token_ids: Sequence[int], stop: Sequence[str], max_tokens: int
    ) -> tuple[Sequence[int], Sequence[float]]:
        """Continue ``token_ids``.

        Args:
            token_ids: the whole context. From call to call of an episode it only grows.
            stop: texts; the token that completes one is the last. It may reach past it.
            max_tokens: most tokens to sample.

        Returns:
            The sampled token ids, at least one, end-of-text included if it was sampled; and their
            log-probabilities.
        """


async def rollout(
    episode: Episode,
    engine: SearchEngine,
    generate: Generate,
    tokenizer: TextEncoder | Tokenizer,
    *,
    max_turn_tokens: int | None = None,
) -> Trajectory:
    """Play ``episode`` to its end.

    A turn ends at the tag that completes a search or an answer, at end-of-text, or after
    ``max_turn_tokens``. A sampler that stops at a tag inside an open thought is asked to go on.

    Args:
        episode: not yet begun. Its limits count tokens if it was made with ``measure=encoder``.
        engine: answers the searches.
        generate: samples the tokens of the policy.
        tokenizer: of the policy; best the `TextEncoder` that measures the episode, so that no text
            is encoded twice.
        max_turn_tokens: most tokens of a turn, at most ``episode.rules.turn_reserve``, which is
            the default.

    Raises:
        RolloutError: the sampler broke its contract.
        TokenizerError: the tokenizer has no end-of-text.
        ValueError: the episode has begun already, or ``max_turn_tokens`` is out of its range.
    """
    encoder = tokenizer if isinstance(tokenizer, TextEncoder) else TextEncoder(tokenizer)
    tokens = TokenEpisode(episode, encoder, max_turn_tokens=max_turn_tokens)
    while not tokens.finished:
        request = tokens.request
        if isinstance(request, SearchRequest):
            tokens.observe(await checked_asearch(engine, request))
        else:
            sampled = await generate(request.token_ids, request.stop, request.max_tokens)
            tokens.write(*sampled)
    return tokens.trajectory()
