"""Chain of thought (Wei et al. 2022, arXiv 2201.11903): think step by step, then answer.

Departure: without worked examples, as in arXiv 2505.04588; the answer stands in our tags.
"""

from __future__ import annotations

from zs_env.actions import STOP, Answer, parse_action
from zs_env.evaluation.methods.base import Method
from zs_env.evaluation.play import Play
from zs_env.evaluation.prompts import CHAIN_OF_THOUGHT


class ChainOfThought(Method):
    """Thoughts and an answer, without a search."""

    searches = False
    prompt = CHAIN_OF_THOUGHT

    async def play(self, play: Play) -> None:
        """Ask, and take the answer behind the thoughts."""
        play.begin(self.prompt)
        action = parse_action(await play.write(stop=STOP))
        play.finish(action.text if isinstance(action, Answer) else None)
