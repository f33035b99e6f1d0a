"""The token loop: an episode, a sampler of tokens and a tokenizer give a `Trajectory`.

It drives `Episode` as the environments do, and knows neither torch nor any inference engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from zs_env.actions import STOP, ends_turn
from zs_env.engines import SearchEngine, checked_asearch
from zs_env.episode import Episode, Role, Termination
from zs_env.errors import RolloutError
from zs_env.tokens.encoder import TextEncoder, Tokenizer
from zs_env.tokens.trajectory import SearchRecord, TokenSegment, Trajectory


class Generate(Protocol):
    """A sampler: the bundled policy's, or a few lines around any inference engine."""

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
        RolloutError: the sampler broke its contract, or the tokenizer has no end-of-text.
        ValueError: the episode has begun already, or ``max_turn_tokens`` is out of its range.
    """
    if episode.turn:
        raise ValueError(f"rollout() plays whole episodes, and this one is in turn {episode.turn}.")
    encoder = tokenizer if isinstance(tokenizer, TextEncoder) else TextEncoder(tokenizer)
    limit = episode.rules.turn_reserve if max_turn_tokens is None else max_turn_tokens
    if not 0 < limit <= episode.rules.turn_reserve:
        raise ValueError(
            f"`max_turn_tokens` must be in [1, {episode.rules.turn_reserve}], got {limit}: the "
            "episode keeps `turn_reserve` of its context free for a turn."
        )
    in_tokens = episode.measure is encoder
    ledger = _Ledger()
    ledger.add_text(Role.PROMPT, encoder.encode(episode.delta))
    searches: list[SearchRecord] = []
    while not episode.finished:
        ids, log_probs, text = await _sample_turn(generate, encoder, ledger.token_ids, limit)
        ledger.add_turn(ids, log_probs)
        request = episode.act(text, len(ids) if in_tokens else None)
        if request is not None:
            result = await checked_asearch(engine, request)
            searches.append(SearchRecord(request.query, request.noisy, result.documents))
            episode.observe(result)
        if not episode.finished:
            segment = episode.segments[-1]
            ledger.add_text(segment.role, encoder.encode(segment.text), segment.noisy)
    return ledger.close(episode, searches)


async def _sample_turn(
    generate: Generate, encoder: TextEncoder, context: list[int], max_tokens: int
) -> tuple[list[int], list[float], str]:
    """The tokens of one turn, their log-probabilities and their text."""
    ids: list[int] = []
    log_probs: list[float] = []
    while True:
        room = max_tokens - len(ids)
        new_ids, new_log_probs = await generate([*context, *ids], STOP, room)
        if not 0 < len(new_ids) <= room or len(new_log_probs) != len(new_ids):
            raise RolloutError(
                f"`generate` must return 1 to {room} token ids and as many log-probabilities, got "
                f"{len(new_ids)} and {len(new_log_probs)}."
            )
        ids += (int(token) for token in new_ids)
        log_probs += (float(value) for value in new_log_probs)
        text = encoder.decode(ids)
        if ids[-1] == encoder.end_of_text or len(ids) == max_tokens or ends_turn(text):
            return ids, log_probs, text


class _Ledger:
    """Tokens in the order they came, and who wrote them."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self._log_probs: list[float] = []
        self._segments: list[TokenSegment] = []

    def add_text(self, role: Role, ids: Sequence[int], noisy: bool = False) -> None:
        """Append what the environment wrote."""
        self._append(role, ids, [0.0] * len(ids), noisy)

    def add_turn(self, ids: Sequence[int], log_probs: Sequence[float]) -> None:
        """Append what the policy wrote."""
        self._append(Role.POLICY, ids, log_probs, False)

    def close(self, episode: Episode, searches: Sequence[SearchRecord]) -> Trajectory:
        """The trajectory of the finished ``episode``."""
        response_mask = np.zeros(len(self.token_ids), dtype=np.bool_)
        for segment in self._segments:
            response_mask[segment.start : segment.stop] = segment.role is Role.POLICY
        return Trajectory(
            question_id=episode.question.id,
            token_ids=np.array(self.token_ids, dtype=np.int32),
            response_mask=response_mask,
            log_probs=np.array(self._log_probs, dtype=np.float32),
            segments=tuple(self._segments),
            reward=episode.reward,
            termination=episode.termination or Termination.TURNS_SPENT,
            searches=tuple(searches),
            noise_probability=episode.noise_probability,
            info=episode.info(),
        )

    def _append(
        self, role: Role, ids: Sequence[int], log_probs: Sequence[float], noisy: bool
    ) -> None:
        start = len(self.token_ids)
        self.token_ids += ids
        self._log_probs += log_probs
        self._segments.append(TokenSegment(role, start, len(self.token_ids), noisy))
