"""What a sampler of the policy's tokens is: an inference engine is one file that has this."""

from __future__ import annotations

from typing import Protocol

from agents.sampling.policy import Policy
from agents.sampling.sampler import Sampler
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.play import Sample


class PolicySampler(Sample, Protocol):
    """Sampler of the tokens of one batch of episodes after the other.

    Attributes:
        encoder: encoder with the policy's tokenizer.
        seconds: time spent in sampling, in seconds.
        num_sampled: number of tokens sampled.
        values: value of the state before each sampled token, by the number of the episode; empty if
            the sampler gives none.
    """

    encoder: TextEncoder
    seconds: float
    num_sampled: int
    values: dict[int, list[float]]

    def clear(self) -> None:
        """Forget all episodes."""


class SamplerService(Protocol):
    """An inference engine that draws tokens with the weights of a policy in training.

    A run calls `start`, then `wake` before episodes are played, with `send_weights` after it if the
    weights have changed, `check` and `sleep` after them, and `close` at the end.

    Attributes:
        gap: largest difference between log-probabilities of a token by the engine and by the
            policy in the last check; None if the policy itself computes.
    """

    gap: float | None

    def start(self) -> None:
        """Start the engine, or connect to it.

        Raises:
            SamplerError: it cannot be used.
        """

    def make(self, num_slots: int, *, greedy: bool = False) -> PolicySampler:
        """Make a sampler; it works once the engine was started.

        Args:
            num_slots: largest number of episodes at a time.
            greedy: whether to take the most likely token instead of sampling.
        """

    def send_weights(self) -> None:
        """Give the engine the present weights of the policy, and check that it has them.

        Raises:
            SamplerError: it does not take them, or its log-probabilities are not the policy's.
        """

    def check(self) -> None:
        """Check that the engine still has the weights that were sent last.

        Raises:
            SamplerError: it has not, or does not answer.
        """

    def sleep(self) -> None:
        """Free the memory that the learner needs, until `wake`."""

    def wake(self) -> None:
        """Be ready to sample."""

    def close(self) -> None:
        """Free everything. May be called twice, and without `start`."""


class OwnSamplers:
    """Samplers in this process that compute with ``policy`` itself: nothing is sent."""

    gap: float | None = None

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def start(self) -> None:
        """Do nothing."""

    def make(self, num_slots: int, *, greedy: bool = False) -> PolicySampler:
        """Make a sampler."""
        return Sampler(self._policy, num_slots, greedy=greedy)

    def send_weights(self) -> None:
        """Do nothing."""

    def check(self) -> None:
        """Do nothing."""

    def sleep(self) -> None:
        """Do nothing."""

    def wake(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
