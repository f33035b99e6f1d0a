"""Batched sampling for episodes that begin and end at any time: one cache, a slot for each episode.

All episodes that are ready are sampled together; an episode that waits for documents delays no
other. The random draws of an episode follow from its own key, and do not depend on the batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from agents.sampling.cache import SlotCache
from agents.sampling.policy import Policy
from zs_env.errors import RolloutError
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.token_episode import SampleRequest

PREFILL_TOKENS = 16384
"""Largest number of context tokens, padding included, that one call of the model reads."""

PATIENCE = 8
"""Largest ratio of episodes being sampled to waiting ones at which new context is read.

Reading delays the episodes being sampled, so waiting ones are gathered into one call.
"""


class Sampler:
    """Sampler from ``policy`` for up to ``num_slots`` episodes at a time.

    It is a `zs_env.tokens.play.Sample`: a call returns as soon as a turn has ended, and the next
    call goes on with the others. `TextEncoder.turn_is_over` decides where a turn ends. The slot of
    an episode is its place in the batch. Its context stays in the cache from turn to turn; another
    episode at the same place starts with an empty slot.

    Args:
        policy: policy to sample from. Call `clear` before its weights change.
        num_slots: largest number of episodes at a time.
        max_length: largest number of tokens of an episode.
        greedy: whether to take the most likely token; log-probabilities are the same as in
            sampling.

    Attributes:
        encoder: encoder with the policy's tokenizer.
        seconds: time spent in the model and in drawing tokens, in seconds.
        num_sampled: number of tokens sampled.
    """

    def __init__(
        self, policy: Policy, num_slots: int, max_length: int, *, greedy: bool = False
    ) -> None:
        self.policy = policy
        self.greedy = greedy
        self.encoder = policy.encoder
        self.seconds = 0.0
        self.num_sampled = 0
        self._num_slots = num_slots
        self._cache = SlotCache(num_slots, max_length)
        self._slots: dict[int, _Slot] = {}
        self._waiting: list[_Slot] = []
        self._sampling: list[_Slot] = []

    def __call__(
        self, requests: Sequence[SampleRequest]
    ) -> list[tuple[list[int], list[float]] | None]:
        """Sample until at least one turn has ended.

        Args:
            requests: turns to sample; a turn that has not ended comes as the same object again.

        Returns:
            Token ids and log-probabilities of each turn that has ended, None for the others.

        Raises:
            RolloutError: a place is not in [0, ``num_slots``), or a context did not grow.
        """
        start = time.perf_counter()
        slots = [self._find(request) for request in requests]
        while slots and not any(slot.finished for slot in slots):
            self._step()
        self.seconds += time.perf_counter() - start
        return [slot.take() if slot.finished else None for slot in slots]

    def clear(self) -> None:
        """Forget all episodes."""
        self._slots.clear()
        self._waiting.clear()
        self._sampling.clear()

    def _find(self, request: SampleRequest) -> _Slot:
        """Return the slot of the episode, and begin the turn if it is a new one."""
        place = request.place
        if not 0 <= place < self._num_slots:
            raise RolloutError(
                f"the sampler has {self._num_slots} slots, and an episode is at place {place}: "
                f"play with `max_episodes` of at most {self._num_slots}."
            )
        slot = self._slots.get(place)
        if slot is None or slot.episode != request.episode:
            slot = self._slots[place] = _Slot(request)
        # A turn still being sampled is asked for with the same object.
        if slot.request is not request:
            slot.begin(request)
            self._waiting.append(slot)
        return slot

    def _step(self) -> None:
        """Read the context of waiting slots, or sample a token for all slots that have read it."""
        if self._waiting and PATIENCE * len(self._waiting) >= len(self._sampling):
            slots = self._next_to_read()
            self._sampling += slots
        else:
            slots = self._sampling
        self._advance(slots)
        self._sampling = [slot for slot in self._sampling if not slot.finished]

    def _next_to_read(self) -> list[_Slot]:
        """Return the waiting slots for one call of the model, those with least to read first."""
        self._waiting.sort(key=lambda slot: len(slot.unread))
        count = 0
        for slot in self._waiting:
            # Sorted, so this slot is the longest, to which the others are padded.
            if count and len(slot.unread) * (count + 1) > PREFILL_TOKENS:
                break
            count += 1
        slots, self._waiting = self._waiting[:count], self._waiting[count:]
        return slots

    @torch.inference_mode()
    def _advance(self, slots: Sequence[_Slot]) -> None:
        """Feed the unread tokens of each slot to the model, and sample a token for each slot."""
        counts = torch.tensor([len(slot.unread) for slot in slots])
        token_ids = torch.zeros(len(slots), int(counts.max()), dtype=torch.long)
        for number, slot in enumerate(slots):
            token_ids[number, : len(slot.unread)] = torch.tensor(slot.unread)
        starts = torch.tensor([slot.num_cached for slot in slots])
        places = torch.tensor([slot.place for slot in slots])
        logits = self._forward(token_ids, places, starts, counts)
        for slot, token, log_prob in zip(slots, *self._draw(logits, slots), strict=True):
            slot.append(token, log_prob, self.encoder)
        self.num_sampled += len(slots)

    def _forward(self, token_ids: Tensor, places: Tensor, starts: Tensor, counts: Tensor) -> Tensor:
        """Return the logits after the last token of each slot.

        Args:
            token_ids: unread tokens, padded on the right, (B, T), int64.
            places: numbers of the slots, (B,).
            starts: numbers of tokens in the cache, (B,).
            counts: numbers of unread tokens, (B,).

        Returns:
            Logits divided by the temperature, (B, V), float32.
        """
        device = self.policy.device
        width = token_ids.shape[1]
        offsets = torch.arange(width)
        positions = starts[:, None] + offsets  # (B, T)
        length = int((starts + counts).max())
        real = offsets < counts[:, None]  # False for padding, (B, T)
        self._cache.select(places, positions.where(real, self._cache.spare), length, device)
        visible = torch.arange(length) <= positions[:, :, None]  # (B, T, length)
        # Slots differ in length, so attention needs an explicit additive mask.
        dtype = next(self.policy.model.parameters()).dtype
        bias = torch.zeros(visible.shape, dtype=dtype).masked_fill_(
            ~visible, torch.finfo(dtype).min
        )
        last = offsets == counts[:, None] - 1
        _, logits = self.policy.at(
            token_ids.to(device),
            last.to(device),
            attention_mask=bias[:, None].to(device),
            position_ids=positions.to(device),
            past_key_values=self._cache,
            use_cache=True,
        )
        return logits.float() / self.policy.temperature

    def _draw(self, logits: Tensor, slots: Sequence[_Slot]) -> tuple[list[int], list[float]]:
        log_probs = logits.log_softmax(-1)
        if self.greedy:
            tokens = log_probs.argmax(-1, keepdim=True)
        else:
            # Inverse transform sampling with a random number of the episode's own: what else is in
            # the batch does not change the draw.
            draws = torch.tensor([[slot.uniform()] for slot in slots], dtype=torch.float64)
            cumulative = log_probs.double().exp().cumsum(-1)
            target = draws.to(cumulative.device) * cumulative[:, -1:]
            tokens = torch.searchsorted(cumulative, target, right=True)
            tokens.clamp_(max=logits.shape[-1] - 1)  # rounding may exceed the last sum
        return tokens[:, 0].tolist(), log_probs.gather(-1, tokens)[:, 0].tolist()


class _Slot:
    """State of the episode in a slot, and of the turn that is being sampled.

    Attributes:
        place: number of the slot.
        episode: number of the episode.
        request: the latest request, for the turn being sampled.
        num_cached: number of tokens whose keys and values are in the cache.
        unread: tokens that must be read before the next is sampled.
        finished: whether the turn has ended, and has not been taken yet.
    """

    def __init__(self, request: SampleRequest) -> None:
        self.place = request.place
        self.episode = request.episode
        self.request: SampleRequest | None = None
        self.num_cached = 0
        self.unread: list[int] = []
        self.finished = False
        self._random = np.random.Generator(np.random.Philox(request.key))
        self._ids: list[int] = []
        self._turn: list[int] = []
        self._log_probs: list[float] = []

    def begin(self, request: SampleRequest) -> None:
        """Begin a turn; context that is in the cache is not read again.

        Raises:
            RolloutError: the context has nothing new.
        """
        ids = list(request.token_ids)
        # The cache fits only if the context continues the one that was read.
        if ids[: self.num_cached] != self._ids[: self.num_cached]:
            self.num_cached = 0
        self.request = request
        self.unread = ids[self.num_cached :]
        if not self.unread:
            raise RolloutError(
                f"a context must grow from turn to turn, and this one still has {len(ids)} tokens: "
                "add the last turn and what the environment wrote after it."
            )
        self._ids = ids
        self._turn, self._log_probs = [], []

    def uniform(self) -> float:
        """Return the next random number of the episode, in [0, 1)."""
        return float(self._random.random())

    def append(self, token: int, log_prob: float, encoder: TextEncoder) -> None:
        """Add a token that was sampled after the unread tokens; they are in the cache now."""
        assert self.request is not None  # set by `begin`
        self.num_cached += len(self.unread)
        self.unread = [token]
        self._ids.append(token)
        self._turn.append(token)
        self._log_probs.append(log_prob)
        known = len(self._turn) - 1  # the turn had not ended before this token
        self.finished = encoder.turn_is_over(self._turn, self.request.max_tokens, known)

    def take(self) -> tuple[list[int], list[float]]:
        """Return the token ids and log-probabilities of the turn that has ended."""
        self.finished = False
        return self._turn, self._log_probs
