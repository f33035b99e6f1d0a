"""Direct answer: the model is asked, and what it writes is the answer.

The baseline "Direct Answer" of arXiv 2505.04588, table 1. Departure: only the first line that is
not empty counts, since small models go on with questions of their own.
"""

from __future__ import annotations

from zs_env.actions import Answer as AnswerAction
from zs_env.actions import parse_action, without_thoughts
from zs_env.evaluation.methods.base import Method
from zs_env.evaluation.play import Play
from zs_env.evaluation.prompts import DIRECT


class Direct(Method):
    """Direct answer, without a search."""

    searches = False

    async def play(self, play: Play) -> None:
        """Ask, and take the answer."""
        play.begin(DIRECT)
        play.finish(read_short_answer(await play.write()))


def read_short_answer(text: str) -> str | None:
    """Return the answer in a text that was to hold nothing else; None if it holds only thoughts."""
    action = parse_action(text)
    if isinstance(action, AnswerAction):
        return action.text or None
    said = without_thoughts(text) or ""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[0].removeprefix("Answer:").strip() or None if lines else None
