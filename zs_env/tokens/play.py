"""A batch of episodes against any sampler of batches, in the thread of the caller.

Autocast, no_grad and the current device belong to a thread: a sampler that is called by `play` sees
those of the code around it. Only searches are awaited elsewhere, on the loop of all engines.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from typing import NamedTuple, Protocol

from zs_env.concurrency.event_loop import caught, engine_loop
from zs_env.documents import SearchRequest, SearchResult
from zs_env.engines import SearchEngine, checked_asearch
from zs_env.episode import Assignment, Episode
from zs_env.errors import RolloutError
from zs_env.rules import Rules
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.token_episode import SampleRequest, TokenEpisode
from zs_env.tokens.trajectory import Trajectory

TOKEN_RULES = Rules(max_action_chars=sys.maxsize)
"""Rules for lengths in tokens: the characters of a turn are not limited apart."""

PATIENT_TICKS = 8
"""Turns of the loop in which an engine that computes, and waits for nothing, has answered.

The engines ``world`` and ``empty`` do, and ``bm25`` over a corpus that is ranked at once.
"""

Outcome = tuple[SearchResult | None, BaseException | None]

Sampled = tuple[Sequence[int], Sequence[float]]
"""Token ids and their log-probabilities."""


class Sample(Protocol):
    """A sampler of batches: a few lines around any inference engine."""

    def __call__(self, requests: Sequence[SampleRequest]) -> Sequence[Sampled | None]:
        """Continue the context of each of ``requests``.

        Returns:
            For each request, the sampled token ids, at least one, end-of-text included if it was
            sampled, and their log-probabilities; or None if they are still being sampled. Then the
            next call holds the same request again. At least one must be complete.
        """


def play(
    assignments: Sequence[Assignment],
    engine: SearchEngine,
    sample: Sample,
    encoder: TextEncoder,
    rules: Rules = TOKEN_RULES,
    *,
    max_turn_tokens: int | None = None,
    max_episodes: int | None = None,
) -> list[Trajectory]:
    """Play the episodes of ``assignments`` to their ends.

    ``sample`` is called in the thread of the caller, with all episodes that wait for tokens; those
    that wait for documents hold up no other. Turns end as in `zs_env.tokens.rollout.rollout`. Works
    in a notebook too, where an event loop is running, which waits as long.

    Args:
        assignments: the episodes; each sampling key is the ``key`` of its requests.
        engine: answers the searches.
        sample: samples the tokens of the policy.
        encoder: of the policy's tokenizer; it measures the episodes.
        rules: the limits, in tokens, and the reward. A turn whose characters exceed
            ``max_action_chars`` is cut there, so that should be `sys.maxsize`, as in the default.
        max_turn_tokens: most tokens of a turn, at most ``rules.turn_reserve``, which is the
            default.
        max_episodes: most episodes under way at a time; all, if not given.

    Returns:
        A trajectory for each assignment, in their order.

    Raises:
        RolloutError: the sampler broke its contract.
        ValueError: a question does not fit into ``rules``, or a number is out of its range.
        RuntimeError: called on the loop of all engines, which could answer no search meanwhile.

    Example:
        >>> def sample(requests):  # doctest: +SKIP
        ...     outputs = llm.generate([r.token_ids for r in requests], ...)
        ...     return [(output.token_ids, output.log_probs) for output in outputs]
        >>> trajectories = play(assignments, engine, sample, encoder, rules)  # doctest: +SKIP
    """
    if max_episodes is not None and max_episodes < 1:
        raise ValueError(f"`max_episodes` must be at least 1, got {max_episodes}.")
    if _on_engine_loop():
        raise RuntimeError(
            "play() waits for searches, so it cannot run on the loop of all engines."
        )

    def begin(assignment: Assignment) -> TokenEpisode:
        episode = Episode(
            assignment.question,
            rules,
            key=assignment.key,
            noise_probability=assignment.noise_probability,
            measure=encoder,
        )
        return TokenEpisode(episode, encoder, max_turn_tokens=max_turn_tokens)

    batch = _Batch(assignments, engine, begin)
    try:
        return batch.play(sample, min(max_episodes or len(assignments), len(assignments)))
    finally:
        batch.searches.cancel()


def _on_engine_loop() -> bool:
    try:
        return asyncio.get_running_loop() is engine_loop()
    except RuntimeError:  # no loop is running in this thread
        return False


class _Running(NamedTuple):
    """An episode under way, and its number in the batch."""

    number: int
    assignment: Assignment
    tokens: TokenEpisode


class _Batch:
    """The episodes under way, by place, and those still to begin."""

    def __init__(
        self,
        assignments: Sequence[Assignment],
        engine: SearchEngine,
        begin: Callable[[Assignment], TokenEpisode],
    ) -> None:
        self.searches = _Searches(engine)
        self._to_begin = deque(enumerate(assignments))
        self._make = begin
        self._running: dict[int, _Running] = {}
        self._waiting: dict[int, SampleRequest] = {}
        self._trajectories: dict[int, Trajectory] = {}

    def play(self, sample: Sample, num_places: int) -> list[Trajectory]:
        """Play all of them, at most ``num_places`` at a time."""
        for place in range(num_places):
            self._begin(place)
        while self._running:
            for place, result in self.searches.arrived(wait=not self._waiting):
                self._running[place].tokens.observe(result)
                self._go_on(place)
            if self._waiting:
                self._sample(sample)
        return [trajectory for _, trajectory in sorted(self._trajectories.items())]

    def _begin(self, place: int) -> None:
        """Give ``place`` to the next episode, if there is one."""
        self._running.pop(place, None)
        if self._to_begin:
            number, assignment = self._to_begin.popleft()
            self._running[place] = _Running(number, assignment, self._make(assignment))
            self._go_on(place)

    def _go_on(self, place: int) -> None:
        """Do what the episode at ``place`` waits for, or put it away."""
        number, assignment, tokens = self._running[place]
        if tokens.finished:
            self._trajectories[number] = tokens.trajectory()
            self._begin(place)
        elif isinstance(tokens.request, SearchRequest):
            self.searches.send(place, tokens.request)
        else:
            self._waiting[place] = tokens.request._replace(
                key=assignment.sampling_key, episode=number, place=place
            )

    def _sample(self, sample: Sample) -> None:
        asked = sorted(self._waiting.items())
        answers = sample([request for _, request in asked])
        if not isinstance(answers, Sequence) or len(answers) != len(asked):
            raise RolloutError(
                f"`sample` must return a list with an entry for each of {len(asked)} requests, got "
                f"{len(answers) if isinstance(answers, Sequence) else type(answers).__name__}."
            )
        if all(sampled is None for sampled in answers):
            raise RolloutError(
                "`sample` returned None for every request: at least one must be complete."
            )
        for (place, _), sampled in zip(asked, answers, strict=True):
            if sampled is not None:
                del self._waiting[place]
                self._running[place].tokens.write(*sampled)
                self._go_on(place)


class _Searches:
    """Searches under way on the loop of all engines, one a place."""

    def __init__(self, engine: SearchEngine) -> None:
        self._engine = engine
        self._loop = engine_loop()
        self._unsent: list[tuple[int, SearchRequest]] = []
        self._done: SimpleQueue[tuple[int, asyncio.Task[Outcome]]] = SimpleQueue()
        # Touched on the loop alone.
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._cancelled = False

    def send(self, place: int, request: SearchRequest) -> None:
        """Have ``request`` sent before the next results are taken."""
        self._unsent.append((place, request))

    def arrived(self, *, wait: bool) -> Iterator[tuple[int, SearchResult]]:
        """Yield places and results that have come; with ``wait``, at least one.

        What an engine answers without waiting for anything has come at once, so that a play with
        such an engine is the same each time, to the order of its episodes in a batch.

        Whatever a search raised is raised.
        """
        if self._unsent:
            start = self._start([*self._unsent])
            self._unsent.clear()
            asyncio.run_coroutine_threadsafe(start, self._loop).result()
        while wait or not self._done.empty():
            wait = False
            place, task = self._done.get()
            result, error = task.result()
            if error is not None:
                raise error
            assert result is not None  # there is one where there is no error
            yield place, result

    def cancel(self) -> None:
        """Give up what is under way."""
        self._loop.call_soon_threadsafe(self._cancel_tasks)

    async def _start(self, searches: Sequence[tuple[int, SearchRequest]]) -> None:
        for place, request in () if self._cancelled else searches:
            task = asyncio.create_task(caught(checked_asearch(self._engine, request)))
            self._tasks.add(task)
            task.add_done_callback(partial(self._finish, place))
        for _ in range(PATIENT_TICKS):
            await asyncio.sleep(0)

    def _finish(self, place: int, task: asyncio.Task[Outcome]) -> None:
        self._tasks.discard(task)
        self._done.put((place, task))

    def _cancel_tasks(self) -> None:
        self._cancelled = True
        for task in self._tasks:
            task.cancel()
