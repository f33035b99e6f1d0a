"""vLLM as a service that samples a policy's tokens, wherever it runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from agents.sampling.policy import Policy
from agents.sampling.vllm.agreement import NUM_SAMPLED, Agreement
from agents.sampling.vllm.requests import Answer, checked_answer, probe_options, turn_options
from agents.sampling.vllm.weights import Weights, WeightsFolder
from zs_env.tokens.play import Sampled
from zs_env.tokens.token_episode import SampleRequest


class Asked(NamedTuple):
    """A request to vLLM.

    Attributes:
        place: number that the answer comes back with.
        episode: number of the episode; requests of one go to the same server.
        token_ids: prompt.
        options: sampling parameters.
    """

    place: int
    episode: int
    token_ids: Sequence[int]
    options: dict[str, Any]


class Connection(Protocol):
    """vLLM in processes of this program, or behind servers. All methods raise SamplerError."""

    def start(self) -> None:
        """Start it, or check that it can be used."""

    def send(self, requests: Sequence[Asked]) -> None:
        """Ask, without waiting."""

    def receive(self) -> list[tuple[int, Answer]]:
        """Wait until at least one answer has come; return places and answers."""

    def cancel(self) -> None:
        """Give up what was asked."""

    def probe(self, token_ids: Sequence[int], options: dict[str, Any]) -> list[tuple[str, Answer]]:
        """Ask each server, and wait; return names and answers."""

    def load(self, weights: Weights) -> None:
        """Replace the weights or the adapters, and forget what was computed with the old ones."""

    def sleep(self) -> None:
        """Free memory for the learner."""

    def wake(self) -> None:
        """Be ready."""

    def close(self) -> None:
        """End it, or disconnect."""


class VLLMSamplers:
    """Samplers in vLLM with the weights of ``policy``: a `SamplerService`.

    Args:
        policy: policy in training.
        connection: vLLM.
        agreement: check of each transfer.
        folder: where weights are handed over.

    Attributes:
        gap: largest difference of log-probabilities in the last check.
    """

    def __init__(
        self, policy: Policy, connection: Connection, agreement: Agreement, folder: WeightsFolder
    ) -> None:
        self._policy = policy
        self._connection = connection
        self._agreement = agreement
        self._folder = folder
        self.gap: float | None = None

    def start(self) -> None:
        """Start vLLM, or check that its servers can be used."""
        self._connection.start()

    def make(self, num_slots: int, *, greedy: bool = False) -> VLLMSampler:
        """Make a sampler; vLLM itself limits places."""
        return VLLMSampler(self._policy, self._connection, greedy=greedy)

    def send_weights(self) -> None:
        """Hand the weights over, and check them."""
        self._connection.load(self._folder.write(self._policy))
        self.check()

    def check(self) -> None:
        """Hold the log-probabilities of a fixed text against the learner's."""
        options = probe_options(self._policy.temperature, NUM_SAMPLED)
        answers = self._connection.probe(self._agreement.token_ids, options)
        self.gap = max(
            self._agreement.check(name, checked_answer(answer, NUM_SAMPLED, name))
            for name, answer in answers
        )

    def sleep(self) -> None:
        """Free memory for the learner."""
        self._connection.sleep()

    def wake(self) -> None:
        """Be ready to sample."""
        self._connection.wake()

    def close(self) -> None:
        """End vLLM, or disconnect; remove the weights that were handed over."""
        self._connection.close()
        self._folder.remove()


class VLLMSampler:
    """Sampler of one batch of episodes after the other: `agents.sampling.interface.PolicySampler`.

    Attributes:
        encoder: encoder with the policy's tokenizer.
        seconds: time spent in waiting for vLLM, in seconds.
        num_sampled: number of tokens sampled.
        values: always empty: vLLM has no value head.
    """

    def __init__(self, policy: Policy, connection: Connection, *, greedy: bool) -> None:
        self.encoder = policy.encoder
        self.seconds = 0.0
        self.num_sampled = 0
        self.values: dict[int, list[float]] = {}
        self._temperature = 0.0 if greedy else policy.temperature
        self._connection = connection
        self._asked: dict[int, SampleRequest] = {}

    def __call__(self, requests: Sequence[SampleRequest]) -> list[Sampled | None]:
        """Ask vLLM for what is new, and wait until at least one turn has ended.

        Args:
            requests: turns to sample; a turn that has not ended comes as the same object again.

        Returns:
            Token ids and log-probabilities of each turn that has ended, None for the others.

        Raises:
            SamplerError: vLLM does not answer.
        """
        start = time.perf_counter()
        new = [r for r in requests if self._asked.get(r.place) is not r]
        self._connection.send([self._ask(request) for request in new])
        done: dict[int, Answer] = {}
        if requests:
            for place, answer in self._connection.receive():
                max_tokens = self._asked.pop(place).max_tokens
                done[place] = checked_answer(answer, max_tokens, "vLLM")
                self.num_sampled += len(answer.token_ids)
        self.seconds += time.perf_counter() - start
        return [
            (done[r.place].token_ids, done[r.place].log_probs) if r.place in done else None
            for r in requests
        ]

    def clear(self) -> None:
        """Give up all turns."""
        if self._asked:
            self._asked.clear()
            self._connection.cancel()

    def _ask(self, request: SampleRequest) -> Asked:
        self._asked[request.place] = request
        options = turn_options(request, self._temperature, self.encoder.end_ids)
        return Asked(request.place, request.episode, request.token_ids, options)
