"""The sampler of a model in this process, for `zs_env.tokens.play`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from zs_env.errors import RolloutError
from zs_env.llm.sampling.draft import Draft
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.token_episode import SampleRequest

if TYPE_CHECKING:  # torch is loaded by those who make one
    from zs_env.llm.sampling.generator import Generator


class GeneratorSampler:
    """Sampler from the model of ``generator``, for up to ``num_slots`` episodes at a time.

    It is a `zs_env.tokens.play.Sample`: a call returns as soon as a turn has ended, and the next
    call goes on with the others. `TextEncoder.turn_is_over` decides where a turn ends. The slot of
    an episode is its place in the batch. Its context stays in the cache from turn to turn; another
    episode at the same place starts with an empty slot.

    Args:
        generator: writer of the tokens. Call `clear` before the weights of its model change.
        encoder: encoder of the model's tokenizer.
        num_slots: largest number of episodes at a time.
        temperature: divisor of the logits.
        greedy: whether to take the most likely token; log-probabilities are the same as in
            sampling.

    Attributes:
        encoder: encoder of the model's tokenizer.
        seconds: time spent in the model and in drawing tokens, in seconds.
        num_sampled: number of tokens sampled.
        values: value of the state before each sampled token, by the number of the episode; empty
            without a value head.
    """

    def __init__(
        self,
        generator: Generator,
        encoder: TextEncoder,
        num_slots: int,
        *,
        temperature: float = 1.0,
        greedy: bool = False,
    ) -> None:
        self.encoder = encoder
        self.greedy = greedy
        self.seconds = 0.0
        self.num_sampled = 0
        self.values: dict[int, list[float]] = {}
        self._temperature = temperature
        self._num_slots = num_slots
        self._generator = generator
        self._drafts: dict[int, Draft] = {}
        self._requests: dict[int, SampleRequest] = {}

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
        drafts = [self._find(request) for request in requests]
        while drafts and not any(draft.finished for draft in drafts):
            self.num_sampled += self._generator.step()
        self.seconds += time.perf_counter() - start
        return [
            self._take(request, draft) if draft.finished else None
            for request, draft in zip(requests, drafts, strict=True)
        ]

    def clear(self) -> None:
        """Forget all episodes."""
        self._drafts.clear()
        self._requests.clear()
        self.values = {}
        self._generator.clear()

    def _find(self, request: SampleRequest) -> Draft:
        """Return the draft of the turn, and begin the turn if it is a new one."""
        place = request.place
        if not 0 <= place < self._num_slots:
            raise RolloutError(
                f"the sampler has {self._num_slots} slots, and an episode is at place {place}: "
                f"play with `max_episodes` of at most {self._num_slots}."
            )
        known = self._requests.get(place)
        # A turn still being sampled is asked for with the same object.
        if known is request:
            return self._drafts[place]
        if known is None or known.episode != request.episode:
            self._drafts[place] = Draft(
                place, request.key, temperature=self._temperature, greedy=self.greedy
            )
        draft = self._drafts[place]
        self._requests[place] = request
        draft.begin(request.token_ids, partial(self._is_over, request.max_tokens))
        if not draft.unread:
            raise RolloutError(
                f"a context must grow from turn to turn, and this one still has "
                f"{len(request.token_ids)} tokens: add the last turn and what the environment "
                "wrote after it."
            )
        self._generator.add(draft)
        return draft

    def _is_over(self, max_tokens: int, written: Sequence[int]) -> bool:
        known = len(written) - 1  # the turn had not ended before this token
        return self.encoder.turn_is_over(written, max_tokens, known)

    def _take(self, request: SampleRequest, draft: Draft) -> tuple[list[int], list[float]]:
        if draft.values:
            self.values.setdefault(request.episode, []).extend(draft.values)
        return draft.written, draft.log_probs
