"""Episodes as arrays of tokens, which grow by one token of the policy at a time."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

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
    """N episodes as tokens, one a slot. C is the length of a slot, V the size of the vocabulary.

    Args:
        num_slots: N.
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
        num_slots: int,
        context_length: int,
        max_turn_tokens: int,
        encoder: TextEncoder,
        masks: TokenMasks,
    ) -> None:
        self.masks = masks
        self.episodes: list[Episode | None] = [None] * num_slots
        padding = getattr(encoder.tokenizer, "pad_token_id", None)
        self._padding = encoder.end_of_text if padding is None else int(padding)
        self.tokens = np.full((num_slots, context_length), self._padding, dtype=np.int32)
        self.roles = np.zeros((num_slots, context_length), dtype=np.int8)
        self.lengths = np.zeros(num_slots, dtype=np.int32)
        self.num_masked = np.zeros(num_slots, dtype=np.int64)
        self._starts = np.zeros(num_slots, dtype=np.int32)  # of the turns
        self._states = np.zeros(num_slots, dtype=np.int64)
        self._last_turn = np.zeros(num_slots, dtype=np.bool_)
        self._max_turn_tokens = max_turn_tokens
        self._encoder = encoder

    def begin(self, slot: int, episode: Episode) -> None:
        """Put a new episode into ``slot``."""
        self.episodes[slot] = episode
        self.tokens[slot] = self._padding
        self.roles[slot] = TokenRole.PADDING
        self.lengths[slot] = 0
        self.num_masked[slot] = 0
        self._append(slot, Role.PROMPT, episode.segments[0].text)

    def action_masks(self) -> NDArray[np.int8]:
        """Return which tokens may come next, a fresh array of shape (N, V), int8."""
        masks: NDArray[np.int8] = self.masks.table[self._classes()]
        return masks

    def masked(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of ``tokens``, one a slot, are masked, shape (N,)."""
        forbidden: NDArray[np.bool_] = self.masks.table[self._classes(), tokens] == 0
        return forbidden

    def step(
        self, tokens: NDArray[np.int64], slots: NDArray[np.int64], engine: SearchEngine
    ) -> list[int]:
        """Append a token to each of ``slots``; take the turns that end, with one engine call.

        Args:
            tokens: one for each slot of the batch; those of other slots do not count.
            slots: whose episodes run.
            engine: answers the searches.

        Returns:
            The slots whose turn ended.
        """
        written = tokens[slots]
        ends = self.lengths[slots]
        self.num_masked[slots] += self.masked(tokens)[slots]
        self.tokens[slots, ends] = written
        self.roles[slots, ends] = TokenRole.POLICY
        self.lengths[slots] = ends + 1
        self._states[slots] = self.masks.after(self._states[slots], written)
        full = self._tokens_left()[slots] == 0
        candidates = slots[full | self.masks.may_end[written]].tolist()
        ended = [slot for slot in candidates if self._is_over(slot)]
        self._take_turns(ended, engine)
        return ended

    def _take_turns(self, slots: Sequence[int], engine: SearchEngine) -> None:
        asking: list[int] = []
        requests: list[SearchRequest] = []
        for slot in slots:
            ids = self._turn(slot)
            request = self._episode(slot).act(self._encoder.decode(ids), len(ids))
            if request is None:
                self._show(slot)
            else:
                asking.append(slot)
                requests.append(request)
        if not requests:
            return
        waiting = [self._episode(slot) for slot in asking]
        for slot in asking:
            self.episodes[slot] = None  # nothing to go on with if the engine raises
        results = checked_search(engine, requests)
        for slot, episode, result in zip(asking, waiting, results, strict=True):
            self.episodes[slot] = episode
            episode.observe(result)
            self._show(slot)

    def _is_over(self, slot: int) -> bool:
        ids = self._turn(slot)
        return self._encoder.turn_is_over(ids, self._max_turn_tokens, len(ids) - 1)

    def _show(self, slot: int) -> None:
        """Append what the environment has added, unless the episode is over."""
        episode = self._episode(slot)
        if not episode.finished:
            segment = episode.segments[-1]
            self._append(slot, segment.role, segment.text)

    def _append(self, slot: int, role: Role, text: str) -> None:
        ids = self._encoder.encode(text)
        start = int(self.lengths[slot])
        stop = start + len(ids)
        self.tokens[slot, start:stop] = ids
        self.roles[slot, start:stop] = ROLES[role]
        self.lengths[slot] = self._starts[slot] = stop
        self._states[slot] = TurnState.START
        episode = self._episode(slot)
        self._last_turn[slot] = episode.turn + 1 == episode.rules.max_turns

    def _episode(self, slot: int) -> Episode:
        episode = self.episodes[slot]
        assert episode is not None  # only slots with a running episode are stepped
        return episode

    def _turn(self, slot: int) -> list[int]:
        ids: list[int] = self.tokens[slot, self._starts[slot] : self.lengths[slot]].tolist()
        return ids

    def _tokens_left(self) -> NDArray[np.int64]:
        return self._max_turn_tokens - (self.lengths - self._starts).astype(np.int64)

    def _classes(self) -> NDArray[np.int64]:
        return self.masks.classes(self._states, self._tokens_left(), self._last_turn)
