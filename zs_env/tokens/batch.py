"""Episodes as rows of tokens, which grow by one token of the policy at a time."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from zs_env.actions import ends_turn
from zs_env.documents import SearchRequest
from zs_env.engines import SearchEngine, checked_search
from zs_env.episode import Episode, Role
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.masks import TokenMasks, TurnState


class TokenRole(IntEnum):
    """Who wrote a token."""

    PADDING = 0
    PROMPT = 1
    POLICY = 2
    INFORMATION = 3
    CORRECTION = 4


ROLES = {role: TokenRole[role.name] for role in Role}


class TokenBatch:
    """N episodes as tokens. C is the length of a row, V the size of the vocabulary.

    Args:
        num_rows: N.
        context_length: C.
        max_turn_tokens: tokens after which a turn ends, whatever it holds.
        encoder: of the policy's tokenizer; it measures the episodes too.
        masks: what may be written next.

    Attributes:
        tokens: shape (N, C), int32, with padding behind the end.
        roles: `TokenRole` of each, shape (N, C), int8.
        lengths: tokens of each episode, shape (N,), int32.
        num_masked: tokens of each episode that the mask forbade, shape (N,), int64.
    """

    def __init__(
        self,
        num_rows: int,
        context_length: int,
        max_turn_tokens: int,
        encoder: TextEncoder,
        masks: TokenMasks,
    ) -> None:
        self.masks = masks
        self.episodes: list[Episode | None] = [None] * num_rows
        padding = getattr(encoder.tokenizer, "pad_token_id", None)
        self._padding = encoder.end_of_text if padding is None else int(padding)
        self.tokens = np.full((num_rows, context_length), self._padding, dtype=np.int32)
        self.roles = np.zeros((num_rows, context_length), dtype=np.int8)
        self.lengths = np.zeros(num_rows, dtype=np.int32)
        self.num_masked = np.zeros(num_rows, dtype=np.int64)
        self._starts = np.zeros(num_rows, dtype=np.int32)  # of the turns
        self._states = np.zeros(num_rows, dtype=np.int64)
        self._last_turn = np.zeros(num_rows, dtype=np.bool_)
        self._max_turn_tokens = max_turn_tokens
        self._encoder = encoder

    def begin(self, row: int, episode: Episode) -> None:
        """Put a new episode into ``row``."""
        self.episodes[row] = episode
        self.tokens[row] = self._padding
        self.roles[row] = TokenRole.PADDING
        self.lengths[row] = 0
        self.num_masked[row] = 0
        self._append(row, Role.PROMPT, episode.delta)

    def action_masks(self) -> NDArray[np.int8]:
        """What may be written next, a fresh array of shape (N, V), int8."""
        masks: NDArray[np.int8] = self.masks.table[self._classes()]
        return masks

    def masked(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of ``tokens``, one a row, may not be written, shape (N,)."""
        forbidden: NDArray[np.bool_] = self.masks.table[self._classes(), tokens] == 0
        return forbidden

    def step(
        self, tokens: NDArray[np.int64], rows: NDArray[np.int64], engine: SearchEngine
    ) -> list[int]:
        """Append a token to each of ``rows``; take the turns that end, with one engine call.

        Args:
            tokens: one for each row of the batch; those of other rows do not count.
            rows: whose episodes run.
            engine: answers the searches.

        Returns:
            The rows whose turn ended.
        """
        written = tokens[rows]
        ends = self.lengths[rows]
        self.num_masked[rows] += self.masked(tokens)[rows]
        self.tokens[rows, ends] = written
        self.roles[rows, ends] = TokenRole.POLICY
        self.lengths[rows] = ends + 1
        self._states[rows] = self.masks.after(self._states[rows], written)
        full = self._tokens_left()[rows] == 0
        candidates = rows[full | self.masks.may_end[written]].tolist()
        ended = [row for row in candidates if self._is_over(row)]
        self._take_turns(ended, engine)
        return ended

    def _take_turns(self, rows: Sequence[int], engine: SearchEngine) -> None:
        asking: list[int] = []
        requests: list[SearchRequest] = []
        for row in rows:
            ids = self._turn(row)
            request = self._episode(row).act(self._encoder.decode(ids), len(ids))
            if request is None:
                self._show(row)
            else:
                asking.append(row)
                requests.append(request)
        if not requests:
            return
        waiting = [self._episode(row) for row in asking]
        for row in asking:
            self.episodes[row] = None  # nothing to go on with if the engine raises
        results = checked_search(engine, requests)
        for row, episode, result in zip(asking, waiting, results, strict=True):
            self.episodes[row] = episode
            episode.observe(result)
            self._show(row)

    def _is_over(self, row: int) -> bool:
        """Whether the turn of ``row`` is over, by the rules of `zs_env.tokens.rollout`."""
        ids = self._turn(row)
        over = ids[-1] == self._encoder.end_of_text or len(ids) == self._max_turn_tokens
        return over or ends_turn(self._encoder.decode(ids))

    def _show(self, row: int) -> None:
        """Append what the environment has added, unless the episode is over."""
        episode = self._episode(row)
        if not episode.finished:
            segment = episode.segments[-1]
            self._append(row, segment.role, segment.text)

    def _append(self, row: int, role: Role, text: str) -> None:
        ids = self._encoder.encode(text)
        start = int(self.lengths[row])
        stop = start + len(ids)
        self.tokens[row, start:stop] = ids
        self.roles[row, start:stop] = ROLES[role]
        self.lengths[row] = self._starts[row] = stop
        self._states[row] = TurnState.START
        episode = self._episode(row)
        self._last_turn[row] = episode.turn + 1 == episode.rules.max_turns

    def _episode(self, row: int) -> Episode:
        episode = self.episodes[row]
        assert episode is not None  # only rows with a running episode are stepped
        return episode

    def _turn(self, row: int) -> list[int]:
        ids: list[int] = self.tokens[row, self._starts[row] : self.lengths[row]].tolist()
        return ids

    def _tokens_left(self) -> NDArray[np.int64]:
        return self._max_turn_tokens - (self.lengths - self._starts).astype(np.int64)

    def _classes(self) -> NDArray[np.int64]:
        return self.masks.classes(self._states, self._tokens_left(), self._last_turn)
