"""Batched sampling for episodes that come and go: one key-value cache, a slot for each episode.

Whatever episodes are ready are sampled together; one that waits for documents holds up no other.
What an episode draws follows from its own key, not from what is sampled with it.
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
"""Tokens of context, padding included, that are read in one call of the model."""

PATIENCE = 8
"""New context is read when one episode waits for each so many that are being sampled."""


class Sampler:
    """Samples from ``policy`` for up to ``num_slots`` episodes at a time.

    A `zs_env.tokens.play.Sample`: a call returns as soon as a turn is over, and goes on with the
    others when it is made again. A turn is over where `TextEncoder.turn_is_over` says so. The slot
    of an episode is its place in the batch, where its context stays in the cache from turn to turn;
    another episode at that place begins anew.

    Args:
        policy: what to sample from. `clear` must be called before its weights change.
        num_slots: most episodes at a time.
        max_length: most tokens of an episode.
        greedy: take the likeliest token; log-probabilities are those of sampling all the same.

    Attributes:
        encoder: of the policy's tokenizer.
        seconds: time spent in the model and in drawing tokens.
        num_sampled: tokens sampled.
    """

    def __init__(
        self, policy: Policy, num_slots: int, max_length: int, *, greedy: bool = False
    ) -> None:
        self.policy = policy
        self.greedy = greedy
        # One sequence decodes to one text, which its types do not say.
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
        """Sample until a turn is over; None for the turns that are not.

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
        """The slot of the episode, whose turn has begun."""
        place = request.place
        if not 0 <= place < self._num_slots:
            raise RolloutError(
                f"the sampler has {self._num_slots} slots, and an episode is at place {place}: "
                f"play with `max_episodes` of at most {self._num_slots}."
            )
        slot = self._slots.get(place)
        if slot is None or slot.episode != request.episode:
            slot = self._slots[place] = _Slot(request)
        if slot.request is not request:
            slot.begin(request)
            self._waiting.append(slot)
        return slot

    def _step(self) -> None:
        """Read new context, or sample a token for all whose context is read."""
        if self._waiting and PATIENCE * len(self._waiting) >= len(self._sampling):
            slots = self._next_to_read()
            self._sampling += slots
        else:
            slots = self._sampling
        self._advance(slots)
        self._sampling = [slot for slot in self._sampling if not slot.finished]

    def _next_to_read(self) -> list[_Slot]:
        """Waiting slots with little to read first, as many as one call of the model takes."""
        self._waiting.sort(key=lambda slot: len(slot.unread))
        count = 0
        for slot in self._waiting:
            if count and len(slot.unread) * (count + 1) > PREFILL_TOKENS:
                break
            count += 1
        slots, self._waiting = self._waiting[:count], self._waiting[count:]
        return slots

    @torch.inference_mode()
    def _advance(self, slots: Sequence[_Slot]) -> None:
        """Feed what has not yet been read of each slot, and sample a token for it."""
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
        """Logits after the last token of each slot, (B, V), float32."""
        device = self.policy.device
        width = token_ids.shape[1]
        offsets = torch.arange(width)
        positions = starts[:, None] + offsets
        length = int((starts + counts).max())
        real = offsets < counts[:, None]
        self._cache.select(places, positions.where(real, self._cache.spare), length, device)
        visible = torch.arange(length) <= positions[:, :, None]  # (B, T, length)
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
            # By inversion, with a number of the episode's own: batching does not change the draw.
            draws = torch.tensor([[slot.uniform()] for slot in slots], dtype=torch.float64)
            cumulative = log_probs.double().exp().cumsum(-1)
            target = draws.to(cumulative.device) * cumulative[:, -1:]
            tokens = torch.searchsorted(cumulative, target, right=True)
            tokens.clamp_(max=logits.shape[-1] - 1)
        return tokens[:, 0].tolist(), log_probs.gather(-1, tokens)[:, 0].tolist()


class _Slot:
    """What is known of the episode in a slot, and the turn that is being sampled.

    Attributes:
        place: number of the slot.
        episode: number of the episode.
        request: the turn that was asked for last.
        num_cached: tokens whose keys and values are in the cache.
        unread: tokens that must be read before the next is sampled.
        finished: whether the turn is over, and not yet taken.
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
        """Begin a turn: what was read before is not read again."""
        ids = list(request.token_ids)
        if ids[: self.num_cached] != self._ids[: self.num_cached]:
            self.num_cached = 0
        self.request = request
        self.unread = ids[self.num_cached :]
        if not self.unread:
            raise RolloutError("a context must grow from call to call, and this one did not.")
        self._ids = ids
        self._turn, self._log_probs = [], []

    def uniform(self) -> float:
        """The next random number of the episode, in [0, 1)."""
        return float(self._random.random())

    def append(self, token: int, log_prob: float, encoder: TextEncoder) -> None:
        """Take a token that was sampled after all that was unread."""
        assert self.request is not None
        self.num_cached += len(self.unread)
        self.unread = [token]
        self._ids.append(token)
        self._turn.append(token)
        self._log_probs.append(log_prob)
        known = len(self._turn) - 1
        self.finished = encoder.turn_is_over(self._turn, self.request.max_tokens, known)

    def take(self) -> tuple[list[int], list[float]]:
        """Give away the turn that is over."""
        self.finished = False
        return self._turn, self._log_probs
