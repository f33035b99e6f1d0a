"""The player of many episodes at once with a `Policy`."""

from __future__ import annotations

from collections.abc import Sequence

from agents.sampling.interface import OwnSamplers, SamplerService
from agents.sampling.policy import Policy
from zs_env.engines import SearchEngine
from zs_env.episode import Assignment
from zs_env.rules import Rules
from zs_env.tokens.play import play
from zs_env.tokens.trajectory import Trajectory


class Player:
    """Player of episodes with ``policy`` against ``engine``, in the thread of the caller.

    Args:
        policy: policy that writes the turns.
        engine: search engine.
        rules: rules with limits in tokens, such as those of an `zs_env.episodes.EpisodeSource`.
        num_slots: largest number of episodes at a time.
        greedy: whether to take the most likely token instead of sampling.
        samplers: sampler of the tokens; by default `policy` itself, in this process.

    Attributes:
        sampler: sampler of the tokens.
        values: value of the state before each token that was sampled in the last `play`, a list for
            each episode; None if the sampler gives none.
    """

    def __init__(
        self,
        policy: Policy,
        engine: SearchEngine,
        rules: Rules,
        num_slots: int,
        *,
        greedy: bool = False,
        samplers: SamplerService | None = None,
    ) -> None:
        self.engine = engine
        self.rules = rules
        samplers = samplers or OwnSamplers(policy)
        self.sampler = samplers.make(num_slots, greedy=greedy)
        self.values: list[list[float]] | None = None
        self._num_slots = num_slots

    def play(self, assignments: Sequence[Assignment]) -> list[Trajectory]:
        """Return the trajectories of ``assignments``, in their order."""
        try:
            trajectories = play(
                assignments,
                self.engine,
                self.sampler,
                self.sampler.encoder,
                self.rules,
                max_episodes=self._num_slots,
            )
            values = self.sampler.values
            numbers = range(len(assignments))
            self.values = [values.get(number, []) for number in numbers] if values else None
            return trajectories
        finally:
            self.sampler.clear()  # the weights may change before the next call
