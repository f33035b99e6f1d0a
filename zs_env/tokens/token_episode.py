"""An episode in tokens, without input or output: what `rollout` and `play` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zs_env.actions import STOP
from zs_env.documents import SearchRequest, SearchResult
from zs_env.episode import Episode, Role
from zs_env.errors import RolloutError
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.trajectory import SearchRecord, TokenSegment, Trajectory


class SampleRequest(NamedTuple):
    """What an episode asks a sampler for: the rest of a turn.

    Attributes:
        token_ids: the whole context. From request to request of an episode it only grows.
        max_tokens: most tokens to sample.
        stop: texts; the token that completes one should be the last. It may reach past it.
        key: what the draws of the episode should follow from.
        episode: number of the episode in its batch, from 0.
        place: number of the place that the episode holds among those under way, from 0. Another
            episode gets it when this one is over.
    """

    token_ids: Sequence[int]
    max_tokens: int
    stop: tuple[str, ...] = STOP
    key: int = 0
    episode: int = 0
    place: int = 0


class TokenEpisode:
    """Drives ``episode`` in tokens; the caller samples and searches.

    ``request`` says what it waits for. `write` takes sampled tokens, `observe` takes what was
    found, and `trajectory` gives the tokens once the episode is over::

        while not tokens.finished:
            request = tokens.request
            if isinstance(request, SearchRequest):
                tokens.observe(checked_search(engine, [request])[0])
            else:
                tokens.write(*sample(request))

    Args:
        episode: not yet begun. Its limits count tokens if it was made with ``measure=encoder``.
        encoder: of the policy's tokenizer.
        max_turn_tokens: most tokens of a turn, at most ``episode.rules.turn_reserve``, which is
            the default.

    Raises:
        ValueError: the episode has begun already, or ``max_turn_tokens`` is out of its range.

    Attributes:
        request: the tokens or the search that the episode waits for; the last one if it is over.
    """

    def __init__(
        self, episode: Episode, encoder: TextEncoder, *, max_turn_tokens: int | None = None
    ) -> None:
        if episode.turn:
            raise ValueError(f"expected whole episodes, and this one is in turn {episode.turn}.")
        reserve = episode.rules.turn_reserve
        self._max_turn_tokens = reserve if max_turn_tokens is None else max_turn_tokens
        if not 0 < self._max_turn_tokens <= reserve:
            raise ValueError(
                f"`max_turn_tokens` must be in [1, {reserve}], got {max_turn_tokens}: the episode "
                "keeps `turn_reserve` of its context free for a turn."
            )
        self._episode = episode
        self._encoder = encoder
        self._in_tokens = episode.measure is encoder
        self._token_ids: list[int] = []
        self._log_probs: list[float] = []
        self._segments: list[TokenSegment] = []
        self._searches: list[SearchRecord] = []
        self._turn_start = 0
        self.request: SampleRequest | SearchRequest
        self._show()

    @property
    def finished(self) -> bool:
        """True once the episode is over."""
        return self._episode.finished

    def write(self, token_ids: Sequence[int], log_probs: Sequence[float]) -> None:
        """Take what was sampled for a `SampleRequest`. If the turn is not over, more is asked for.

        Args:
            token_ids: at least one, end-of-text included if it was sampled.
            log_probs: of each.

        Raises:
            RolloutError: there are too few or too many.
        """
        request = self.request
        if not isinstance(request, SampleRequest):
            raise RuntimeError("this episode waits for documents, not for tokens.")
        room = request.max_tokens
        if not 0 < len(token_ids) <= room or len(log_probs) != len(token_ids):
            raise RolloutError(
                f"a sampler must return 1 to {room} token ids and as many log-probabilities, got "
                f"{len(token_ids)} and {len(log_probs)}."
            )
        num_known = len(self._token_ids) - self._turn_start
        self._token_ids += map(int, token_ids)
        self._log_probs += map(float, log_probs)
        turn = self._token_ids[self._turn_start :]
        if self._encoder.turn_is_over(turn, self._max_turn_tokens, num_known):
            self._act(turn)
        else:
            self._ask()

    def observe(self, result: SearchResult) -> None:
        """Take the result of a `SearchRequest`."""
        request = self.request
        if not isinstance(request, SearchRequest):
            raise RuntimeError("this episode did not search; there is nothing to observe.")
        self._searches.append(
            SearchRecord(request.query, request.noisy, result.documents, request.turn)
        )
        self._episode.observe(result)
        self._show()

    def trajectory(self) -> Trajectory:
        """Return the tokens of the finished episode.

        Raises:
            RuntimeError: it is not over.
        """
        episode = self._episode
        if episode.termination is None:
            raise RuntimeError("this episode is not over; it has no trajectory yet.")
        response_mask = np.zeros(len(self._token_ids), dtype=np.bool_)
        for segment in self._segments:
            response_mask[segment.start : segment.stop] = segment.role is Role.POLICY
        return Trajectory(
            question_id=episode.question.id,
            token_ids=np.array(self._token_ids, dtype=np.int32),
            response_mask=response_mask,
            log_probs=np.array(self._log_probs, dtype=np.float32),
            segments=tuple(self._segments),
            reward=episode.reward,
            termination=episode.termination,
            searches=tuple(self._searches),
            noise_probability=episode.noise_probability,
            info=episode.info(),
        )

    def _act(self, turn: Sequence[int]) -> None:
        self._segments.append(TokenSegment(Role.POLICY, self._turn_start, len(self._token_ids)))
        length = len(turn) if self._in_tokens else None
        search = self._episode.act(self._encoder.decode(turn), length)
        if search is None:
            self._show()
        else:
            self.request = search

    def _show(self) -> None:
        """Append what the environment wrote last, and ask for the next turn."""
        if self.finished:
            return
        role, text, noisy = self._episode.segments[-1]
        ids = self._encoder.encode(text)
        start = len(self._token_ids)
        self._token_ids += ids
        self._log_probs += [0.0] * len(ids)
        self._turn_start = len(self._token_ids)
        self._segments.append(TokenSegment(role, start, self._turn_start, noisy))
        self._ask()

    def _ask(self) -> None:
        num_written = len(self._token_ids) - self._turn_start
        self.request = SampleRequest([*self._token_ids], self._max_turn_tokens - num_written)
