"""The sampler of a policy in this process, for the player of many episodes."""

from __future__ import annotations

from agents.sampling.policy import Policy
from zs_env.llm.sampling.generator import Generator
from zs_env.tokens.sampler import GeneratorSampler


class Sampler(GeneratorSampler):
    """Sampler from ``policy`` for up to ``num_slots`` episodes at a time.

    Args:
        policy: policy to sample from. Call `clear` before its weights change.
        num_slots: largest number of episodes at a time.
        greedy: whether to take the most likely token.

    Attributes:
        policy: policy that is sampled from.
    """

    def __init__(self, policy: Policy, num_slots: int, *, greedy: bool = False) -> None:
        self.policy = policy
        super().__init__(
            Generator(policy.causal_model, policy.value_head),
            policy.encoder,
            num_slots,
            temperature=policy.temperature,
            greedy=greedy,
        )
