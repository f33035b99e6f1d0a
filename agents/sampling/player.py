"""Plays many episodes at once with the bundled policy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from agents.sampling.policy import Policy
from agents.sampling.sampler import Sampler
from zs_env.engines import SearchEngine
from zs_env.episode import Assignment, Episode
from zs_env.questions import QuestionSource
from zs_env.rules import Rules
from zs_env.tokens.play import play
from zs_env.tokens.trajectory import Trajectory

NUM_CHECKED = 1000


class Player:
    """Plays episodes with ``policy`` against ``engine``, in the thread of the caller.

    Args:
        policy: writes the turns.
        engine: answers the searches.
        rules: the limits, whose context is counted in tokens.
        num_slots: episodes at a time.
        greedy: take the likeliest token instead of sampling.
    """

    def __init__(
        self,
        policy: Policy,
        engine: SearchEngine,
        rules: Rules,
        num_slots: int,
        *,
        greedy: bool = False,
    ) -> None:
        self.engine = engine
        self.rules = _with_start(rules, policy.tokenizer)
        self.sampler = Sampler(policy, num_slots, rules.max_context, greedy=greedy)
        self.encoder = self.sampler.encoder
        self._num_slots = num_slots

    def play(self, assignments: Sequence[Assignment]) -> list[Trajectory]:
        """Return the trajectories of ``assignments``, in their order."""
        try:
            return play(
                assignments,
                self.engine,
                self.sampler,
                self.encoder,
                self.rules,
                max_episodes=self._num_slots,
            )
        finally:
            self.sampler.clear()

    def check_room(self, source: QuestionSource) -> None:
        """ValueError unless the longest question (of the first thousand) fits the context."""
        questions = (source[number] for number in range(min(len(source), NUM_CHECKED)))
        Episode(max(questions, key=lambda q: len(q.text)), self.rules, measure=self.encoder)


def token_rules(rules: Rules, max_context: int, max_turn_tokens: int) -> Rules:
    """``rules`` with lengths counted in tokens; characters of turns are not limited apart."""
    return replace(
        rules,
        max_context=max_context,
        turn_reserve=max_turn_tokens,
        max_action_chars=sys.maxsize,
    )


def _with_start(rules: Rules, tokenizer: PreTrainedTokenizerBase) -> Rules:
    """``rules`` whose prompt begins with the token that the model's texts begin with, if any."""
    start = tokenizer.bos_token
    begins = start is not None and tokenizer.encode("")[:1] == [tokenizer.bos_token_id]
    if not begins or rules.prompt_template.startswith(start):
        return rules
    return replace(rules, prompt_template=start + rules.prompt_template)
