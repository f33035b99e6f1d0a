"""The thread that writes texts: each begins as soon as a slot is free, whatever the others do."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from zs_env.errors import SearchFailure
from zs_env.llm.sampling.draft import Draft, Shadow
from zs_env.llm.sampling.generator import Generator
from zs_env.llm.sampling.slots import Slots

T = TypeVar("T")

CLOSING_S = 1.0
"""Seconds that the end of a program waits for a step that is under way."""


@dataclass(frozen=True, eq=False)
class Job(Generic[T]):
    """Text to write. Nothing more is written once its answer is cancelled.

    Attributes:
        token_ids: context that the text continues.
        make_draft: makes its draft, for a slot in which the cache holds some first tokens of it.
        is_over: function of the tokens written, the last of which is new: whether the text ends.
        finish: makes the answer from the tokens written.
        contrast: another context, and the weight with which the text is contrasted with what that
            would be continued by (`zs_env.llm.sampling.drawing.contrasted`); None for none.
        answer: the answer, or the error that ended the worker. The error is its result, because a
            future cannot hold any exception.
    """

    token_ids: Sequence[int]
    make_draft: Callable[[int, Sequence[int]], Draft]
    is_over: Callable[[Sequence[int]], bool]
    finish: Callable[[list[int]], T]
    contrast: tuple[Sequence[int], float] | None = None
    answer: Future[T | BaseException] = field(default_factory=Future)

    @property
    def num_slots(self) -> int:
        """Number of slots that the job takes."""
        return 1 if self.contrast is None else 2

    def begin(self, slot: int, cached: Sequence[int], shadow: Shadow | None) -> Draft:
        """Return the begun draft."""
        draft = self.make_draft(slot, cached)
        draft.shadow = shadow
        draft.begin(self.token_ids, lambda ids: self.answer.cancelled() or self.is_over(ids))
        return draft

    def give(self, answer: T | BaseException) -> None:
        """Set the answer, unless nobody waits for it."""
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_result(answer)


class Worker(Generic[T]):
    """Writer of jobs that come from any thread, at any time, each in a slot of ``generator``.

    Its thread runs while there is something to write. What a text leaves in the cache stays there
    until its slot is needed, and is not read again by a text that goes on with it. An error of the
    generator is the answer to all jobs, those to come included.

    Args:
        generator: generator, which nothing else uses.
        num_slots: most texts that are written at the same time; others wait. One with a contrast
            counts twice, and needs two.

    Attributes:
        error: error that ended the worker; None if none did.
    """

    _all: weakref.WeakSet[Worker[Any]] = weakref.WeakSet()

    def __init__(self, generator: Generator, num_slots: int) -> None:
        self.error: BaseException | None = None
        self._generator = generator
        self._num_slots = num_slots
        self._slots = Slots(num_slots)
        self._waiting: deque[Job[T]] = deque()
        self._under_way: dict[Job[T], Draft | None] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        Worker._all.add(self)

    def submit(self, jobs: Sequence[Job[T]]) -> None:
        """Have ``jobs`` written; they get their answers in the worker's thread."""
        with self._lock:
            if self.error is None:
                if self._thread is None and jobs:
                    thread = threading.Thread(target=self._run, name="zs_env writer", daemon=True)
                    thread.start()
                    self._thread = thread
                self._waiting.extend(jobs)
                return
        for job in jobs:
            job.give(self.error)

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until all jobs have their answers.

        Args:
            timeout_s: longest wait, in seconds; None for no limit.
        """
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while self._take_waiting():
                try:
                    self._begin()
                    self._generator.step()
                except torch.OutOfMemoryError:
                    self._make_room()
                self._finish()
        except BaseException as error:
            self._fail(error)

    def _take_waiting(self) -> bool:
        """Take waiting jobs for free slots; return whether any job is under way."""
        with self._lock:
            free = self._num_slots - sum(job.num_slots for job in self._under_way)
            while self._waiting and self._waiting[0].num_slots <= free:
                job = self._waiting.popleft()
                if not job.answer.cancelled():
                    self._under_way[job] = None
                    free -= job.num_slots
            if not self._under_way:
                self._thread = None
            return bool(self._under_way)

    def _begin(self) -> None:
        """Begin the jobs that were taken, each where most of its context is in the cache."""
        for job in [job for job, draft in self._under_way.items() if draft is None]:
            shadow = None
            if job.contrast is not None:
                token_ids, weight = job.contrast
                shadow = Shadow(self._make_shadow(token_ids), weight)
            draft = job.begin(*self._take_slot(job.token_ids), shadow)
            self._under_way[job] = draft
            self._generator.add(draft)

    def _make_shadow(self, token_ids: Sequence[int]) -> Draft:
        slot, cached = self._take_slot(token_ids)
        draft = Draft(slot, key=0, cached=cached)
        draft.begin(token_ids, lambda written: False)  # the draft that it belongs to ends it
        return draft

    def _take_slot(self, token_ids: Sequence[int]) -> tuple[int, Sequence[int]]:
        """Take a slot for a context; return it, and the tokens that it holds of the context."""
        slot, source, num_cached = self._slots.take(token_ids)
        if source != slot:
            self._generator.copy(source, slot, num_cached)
        return slot, token_ids[:num_cached]

    def _finish(self) -> None:
        """Answer the jobs whose texts have ended."""
        for job, draft in list(self._under_way.items()):
            if draft is not None and draft.finished:
                answer = job.finish(draft.written)
                del self._under_way[job]
                for row in draft.rows:
                    self._slots.give_back(row.slot, row.cached)
                job.give(answer)

    def _make_room(self) -> None:
        """After memory ran out, forget what ended texts left; without any, fail what is under way.

        What is under way is written again from its beginning, which gives the same.
        """
        jobs, had_kept = list(self._under_way), self._slots.hold_any
        self._forget()
        if had_kept:
            self._under_way = dict.fromkeys(jobs)
            return
        failure = SearchFailure(
            f"{len(jobs)} texts at a time do not fit in the memory of the GPU: lower "
            "`max_batch_size`."
        )
        for job in jobs:
            job.give(failure)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self.error, self._thread = error, None
        jobs = [*self._under_way, *self._waiting]
        self._under_way.clear()
        self._waiting.clear()
        for job in jobs:
            job.give(error)

    def _forget(self) -> None:
        """Forget what is under way, and what the cache holds."""
        self._generator.clear()
        self._slots.forget()
        self._under_way.clear()

    def _begin_anew(self) -> None:
        """Forget the thread and its jobs, which a fork does not have."""
        self._lock = threading.Lock()
        if self._thread is not None:
            self._thread = None
            self._waiting.clear()
            self._forget()

    def _stop(self) -> None:
        """Give up all jobs, and wait a little for the step that is under way."""
        for job in [*self._waiting, *self._under_way]:
            job.answer.cancel()
        self.join(CLOSING_S)


def _begin_all_anew() -> None:
    for worker in list(Worker._all):
        worker._begin_anew()


@atexit.register
def _stop_all() -> None:
    """Stop all threads: one that computes while the interpreter ends would crash it."""
    for worker in list(Worker._all):
        worker._stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all_anew)
