"""Batched sampling for episodes that come and go: one key-value cache, a row for each episode.

Whatever episodes are ready are sampled together; one that waits for documents holds up no other.
What an episode draws follows from its own key, not from who is sampled with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Cache

from agents.sampling.policy import Policy
from zs_env.errors import RolloutError

PREFILL_TOKENS = 16384
"""Tokens of context, padding included, that are read in one call of the model."""

PATIENCE = 8
"""New context is read when one episode waits for each so many that are being sampled."""


class Sampler:
    """Samples from ``policy`` for up to ``num_rows`` episodes at a time.

    Args:
        policy: what to sample from. Sessions must be closed before its weights change.
        num_rows: most sessions at a time.
        max_length: most tokens of an episode.
        greedy: take the likeliest token; log-probabilities are those of sampling all the same.

    Attributes:
        seconds: time spent in the model and in drawing tokens.
        num_sampled: tokens sampled.
    """

    def __init__(
        self, policy: Policy, num_rows: int, max_length: int, *, greedy: bool = False
    ) -> None:
        self.policy = policy
        self.greedy = greedy
        self.seconds = 0.0
        self.num_sampled = 0
        self._cache = RowCache(num_rows, max_length)
        self._free_rows = list(range(num_rows))[::-1]
        self._waiting: list[_Job] = []
        self._sampling: list[_Job] = []
        self._driver: asyncio.Task[None] | None = None
        self._enders: dict[tuple[str, ...], np.ndarray] = {}

    def session(self, key: int) -> Session:
        """A sampler for one episode, whose draws follow from ``key``.

        Raises:
            RuntimeError: all rows are taken.
        """
        if not self._free_rows:
            raise RuntimeError("all rows of the sampler are taken: close a session first.")
        return Session(self, self._free_rows.pop(), key)

    def release(self, row: int) -> None:
        """Take a row back."""
        self._free_rows.append(row)

    def submit(self, job: _Job) -> None:
        """Queue a request, and see to it that somebody works on the queue."""
        self._waiting.append(job)
        if self._driver is None or self._driver.done():
            self._driver = asyncio.get_running_loop().create_task(self._drive())

    def may_end(self, stop: tuple[str, ...]) -> np.ndarray:
        """For each token id, whether it may complete one of the texts ``stop``, (V,), bool."""
        if stop not in self._enders:
            last = {text[-1] for text in stop}
            tokenizer = self.policy.tokenizer
            self._enders[stop] = np.array(
                [
                    any(c in tokenizer.decode([token]) for c in last)
                    for token in range(len(tokenizer))
                ]
                + [True] * (self.policy.model.config.vocab_size - len(tokenizer))
            )
        return self._enders[stop]

    async def _drive(self) -> None:
        try:
            while self._waiting or self._sampling:
                start = time.perf_counter()
                if self._waiting and PATIENCE * len(self._waiting) >= len(self._sampling):
                    jobs = self._next_to_read()
                    self._sampling += jobs
                    self._advance(jobs)
                else:
                    self._advance(self._sampling)
                self._sampling = [job for job in self._sampling if not job.future.done()]
                self.seconds += time.perf_counter() - start
                await asyncio.sleep(0)  # who is finished may search, and others may come back
        except Exception as error:
            for job in self._waiting + self._sampling:
                if not job.future.done():
                    job.future.set_exception(error)
            self._waiting, self._sampling = [], []

    def _next_to_read(self) -> list[_Job]:
        """Waiting jobs with little to read first, as many as one call of the model takes."""
        self._waiting = [job for job in self._waiting if not job.future.done()]
        self._waiting.sort(key=lambda job: len(job.unread))
        count = 0
        for job in self._waiting:
            if count and len(job.unread) * (count + 1) > PREFILL_TOKENS:
                break
            count += 1
        jobs, self._waiting = self._waiting[:count], self._waiting[count:]
        return jobs

    @torch.inference_mode()
    def _advance(self, jobs: list[_Job]) -> None:
        """Feed what each job has not yet read, and sample a token for it."""
        jobs = [job for job in jobs if not job.future.done()]
        if not jobs:
            return
        counts = torch.tensor([len(job.unread) for job in jobs])
        token_ids = torch.zeros(len(jobs), int(counts.max()), dtype=torch.long)
        for row, job in enumerate(jobs):
            token_ids[row, : len(job.unread)] = torch.tensor(job.unread)
        starts = torch.tensor([job.session.num_cached for job in jobs])
        rows = torch.tensor([job.session.row for job in jobs])
        logits = self._forward(token_ids, rows, starts, counts)
        for job, token, log_prob in zip(jobs, *self._draw(logits, jobs), strict=True):
            job.take(token, log_prob)
        self.num_sampled += len(jobs)

    def _forward(self, token_ids: Tensor, rows: Tensor, starts: Tensor, counts: Tensor) -> Tensor:
        """Logits after the last token of each row, (B, V), float32."""
        device = self.policy.device
        width = token_ids.shape[1]
        offsets = torch.arange(width)
        positions = starts[:, None] + offsets
        length = int((starts + counts).max())
        real = offsets < counts[:, None]
        self._cache.select(rows, positions.where(real, self._cache.spare), length, device)
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

    def _draw(self, logits: Tensor, jobs: list[_Job]) -> tuple[list[int], list[float]]:
        log_probs = logits.log_softmax(-1)
        if self.greedy:
            tokens = log_probs.argmax(-1, keepdim=True)
        else:
            # By inversion, with a number of the episode's own: batching does not change the draw.
            draws = torch.tensor([[job.session.uniform()] for job in jobs], dtype=torch.float64)
            cumulative = log_probs.double().exp().cumsum(-1)
            target = draws.to(cumulative.device) * cumulative[:, -1:]
            tokens = torch.searchsorted(cumulative, target, right=True)
            tokens.clamp_(max=logits.shape[-1] - 1)
        return tokens[:, 0].tolist(), log_probs.gather(-1, tokens)[:, 0].tolist()


class Session:
    """Samples for one episode. A `zs_env.tokens.rollout.Generate`; close it after the episode."""

    def __init__(self, sampler: Sampler, row: int, key: int) -> None:
        self.row = row
        self.num_cached = 0
        self._sampler = sampler
        self._random = np.random.Generator(np.random.Philox(key))
        self._ids: list[int] = []

    def uniform(self) -> float:
        """The next random number of the episode, in [0, 1)."""
        return float(self._random.random())

    async def __call__(
        self, token_ids: Sequence[int], stop: Sequence[str], max_tokens: int
    ) -> tuple[list[int], list[float]]:
        """Continue ``token_ids``; what was read before is not read again."""
        ids = list(token_ids)
        if ids[: self.num_cached] != self._ids[: self.num_cached]:
            self.num_cached = 0
        self._ids = ids
        unread = ids[self.num_cached :]
        if not unread:
            raise RolloutError("a context must grow from call to call, and this one did not.")
        future = asyncio.get_running_loop().create_future()
        job = _Job(self, self._sampler, future, tuple(stop), max_tokens, unread)
        self._sampler.submit(job)
        await future
        return job.token_ids, job.log_probs

    def read(self, token: int, num_read: int) -> None:
        """``num_read`` tokens have gone into the cache, and ``token`` was sampled after them."""
        self.num_cached += num_read
        self._ids.append(token)

    def close(self) -> None:
        """Give the row back."""
        self._sampler.release(self.row)


@dataclass(slots=True)
class _Job:
    """One call of a session that is being worked on."""

    session: Session
    sampler: Sampler
    future: asyncio.Future[None]
    stop: tuple[str, ...]
    max_tokens: int
    unread: list[int]
    token_ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)

    def take(self, token: int, log_prob: float) -> None:
        """Append a sampled token, and say so if it was the last."""
        self.session.read(token, len(self.unread))
        self.unread = [token]
        self.token_ids.append(token)
        self.log_probs.append(log_prob)
        if self._is_complete(token):
            self.future.set_result(None)

    def _is_complete(self, token: int) -> bool:
        tokenizer = self.sampler.policy.tokenizer
        if token == tokenizer.eos_token_id or len(self.token_ids) == self.max_tokens:
            return True
        if not self.sampler.may_end(self.stop)[token]:
            return False
        text = tokenizer.decode(self.token_ids)
        return any(ending in text for ending in self.stop)


class RowCache(Cache):
    """Keys and values of ``num_rows`` sequences, each of its own length up to ``max_length``.

    `select` says which rows the next call of the model is for, and where its tokens belong.
    """

    def __init__(self, num_rows: int, max_length: int) -> None:
        super().__init__(layers=[])
        self.spare = max_length
        """The column that padding is written to."""
        self._shape = (num_rows, max_length + 1)
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}

    def select(self, rows: Tensor, positions: Tensor, length: int, device: torch.device) -> None:
        """Write to ``positions`` (B, T) of ``rows`` (B,), and attend to the first ``length``."""
        self._rows = rows.to(device)
        self._positions = positions.to(device)
        self._length = length

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store what is new, (B, heads, T, size); return all of it, (B, heads, length, size)."""
        return (
            self._store(self._keys, layer_idx, key_states),
            self._store(self._values, layer_idx, value_states),
        )

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Length of the longest selected row."""
        return self._length

    def _store(self, storage: dict[int, Tensor], layer: int, states: Tensor) -> Tensor:
        if layer not in storage:
            num_rows, columns = self._shape
            _, heads, _, size = states.shape
            storage[layer] = states.new_zeros(num_rows, heads, columns, size)
        stored = storage[layer]
        stored[self._rows[:, None], :, self._positions] = states.transpose(1, 2)
        return stored[self._rows, :, : self._length]
