"""The token loop: an episode, a sampler of tokens and a tokenizer give a `Trajectory`.

It drives `Episode` as the environments do, and knows neither torch nor any inference engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from zs_env.actions import ANSWER, SEARCH, TAG_NAMES, ends_turn
from zs_env.engines import SearchEngine, answer
from zs_env.episode import Episode, Role
from zs_env.errors import RolloutError
from zs_env.prompts import INFORMATION_START
from zs_env.trajectory import SearchRecord, Termination, TokenSegment, Trajectory

STOP = (f"</{SEARCH}>", f"</{ANSWER}>")
"""Texts at which a sampler should stop."""

TAG_STARTS = tuple(f"{start}{name}>" for name in TAG_NAMES for start in ("<", "</"))
REMEMBERED_TEXTS = 16


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


class Tokenizer(Protocol):
    """What is needed of a tokenizer; those of transformers have it."""

    @property
    def eos_token_id(self) -> int | None:
        """The id of end-of-text."""

    def encode(self, text: str, *, add_special_tokens: bool, **options: Any) -> list[int]:
        """The ids of a text."""

    def decode(self, token_ids: list[int]) -> str:
        """The text of some ids."""


class TextEncoder:
    """Encodes the environment's texts, each once: also the measure of an episode in tokens.

    Args:
        tokenizer: of the policy.

    Raises:
        RolloutError: the tokenizer has no end-of-text.

    Example:
        >>> encoder = TextEncoder(tokenizer)  # doctest: +SKIP
        >>> episode = Episode(question, rules, measure=encoder)  # doctest: +SKIP
        >>> trajectory = await rollout(episode, engine, generate, encoder)  # doctest: +SKIP
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        if tokenizer.eos_token_id is None:
            raise RolloutError(
                "the tokenizer has no end-of-text token (`eos_token_id` is None): the policy could "
                "not end a turn that holds no action."
            )
        self.tokenizer = tokenizer
        self.end_of_text = int(tokenizer.eos_token_id)
        special_tokens = getattr(tokenizer, "all_special_tokens", ())
        self._special_tokens = [t for t in special_tokens if not t.startswith(TAG_STARTS)]
        self._encode = lru_cache(maxsize=REMEMBERED_TEXTS)(self._encode_anew)

    def __reduce__(self) -> tuple[type, tuple[Tokenizer]]:
        """Pickle as the tokenizer, without the texts that are remembered."""
        return type(self), (self.tokenizer,)

    def __call__(self, text: str) -> int:
        """Number of tokens of ``text``."""
        return len(self._encode(text))

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of ``text``, without special tokens around it."""
        return self._encode(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a turn; end-of-text at its end is no part of it."""
        ids = list(token_ids)
        if ids and ids[-1] == self.end_of_text:
            ids.pop()
        return self.tokenizer.decode(ids)

    def _encode_anew(self, text: str) -> tuple[int, ...]:
        options = {}
        if text.startswith(INFORMATION_START) and any(t in text for t in self._special_tokens):
            # A document that spells a special token, such as end-of-text, must not become one.
            options["split_special_tokens"] = True
        return tuple(self.tokenizer.encode(text, add_special_tokens=False, **options))


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
            result = await answer(engine, request)
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
            termination=_termination(episode),
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


def _termination(episode: Episode) -> Termination:
    if episode.terminated:
        return Termination.ANSWERED
    if episode.search_failed:
        return Termination.SEARCH_FAILED
    return Termination.CONTEXT_EXCEEDED if episode.context_exceeded else Termination.TURNS_SPENT
