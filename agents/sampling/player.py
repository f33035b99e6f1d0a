"""Plays many episodes at once with the bundled policy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from agents.sampling.policy import Policy
from agents.sampling.sampler import Sampler
from zs_env.concurrency.event_loop import caught, run_to_end
from zs_env.engines import SearchEngine
from zs_env.episode import Assignment, Episode
from zs_env.rules import Rules
from zs_env.tokens.rollout import rollout
from zs_env.tokens.trajectory import Trajectory


class Player:
    """Plays episodes with ``policy`` against ``engine``, as many at a time as there are rows.

    Args:
        policy: writes the turns.
        engine: answers the searches.
        rules: the limits, whose context is counted in tokens.
        num_rows: episodes at a time.
        greedy: take the likeliest token instead of sampling.
    """

    def __init__(
        self,
        policy: Policy,
        engine: SearchEngine,
        rules: Rules,
        num_rows: int,
        *,
        greedy: bool = False,
    ) -> None:
        self.engine = engine
        self.encoder = policy.encoder
        self.rules = _with_start(rules, policy.tokenizer)
        self.sampler = Sampler(policy, num_rows, rules.max_context, greedy=greedy)
        self._num_rows = num_rows

    def play(self, assignments: Sequence[Assignment]) -> list[Trajectory]:
        """The trajectories of ``assignments``, in their order."""
        return run_to_end(self._play_all(assignments))

    async def _play_all(self, assignments: Sequence[Assignment]) -> list[Trajectory]:
        rows = asyncio.Semaphore(self._num_rows)
        outcomes = await asyncio.gather(*(caught(self._play(a, rows)) for a in assignments))
        for _, error in outcomes:
            if error is not None:
                raise error
        return [trajectory for trajectory, _ in outcomes if trajectory is not None]

    async def _play(self, assignment: Assignment, rows: asyncio.Semaphore) -> Trajectory:
        async with rows:
            episode = Episode(
                assignment.question,
                self.rules,
                key=assignment.key,
                noise_probability=assignment.noise_probability,
                measure=self.encoder,
            )
            session = self.sampler.session(assignment.sampling_key)
            try:
                return await rollout(episode, self.engine, session, self.encoder)
            finally:
                session.close()


def _with_start(rules: Rules, tokenizer: PreTrainedTokenizerBase) -> Rules:
    """``rules`` whose prompt begins with the token that the model's texts begin with, if any."""
    start = tokenizer.bos_token
    begins = start is not None and tokenizer.encode("")[:1] == [tokenizer.bos_token_id]
    if not begins or rules.prompt_template.startswith(start):
        return rules
    return replace(rules, prompt_template=start + rules.prompt_template)
