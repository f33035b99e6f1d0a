"""Retrieval agent: the model searches when it wants to, and reads whole documents.

"RAgent" of arXiv 2501.05366 (Search-o1), the baseline "RA-Agent" of arXiv 2505.04588. Departures:
our tags instead of their special symbols, and the answer in tags instead of a box; a message
without search and answer ends it, and counts as an invalid turn.
"""

from __future__ import annotations

from collections.abc import Sequence

from zs_env.actions import STOP, Answer, Search, parse_action
from zs_env.documents import Document
from zs_env.episode import Role
from zs_env.evaluation.methods.base import Method
from zs_env.evaluation.play import Play
from zs_env.evaluation.policy_model import Piece
from zs_env.evaluation.prompts import AGENT
from zs_env.prompts import render_information


class RetrievalAgent(Method):
    """Reasoning with searches whenever the model asks for one."""

    async def play(self, play: Play) -> None:
        """Let the model write and search until it answers."""
        play.begin(AGENT)
        for turn in range(play.options.max_turns):
            action = parse_action(await play.write(stop=STOP))
            if not isinstance(action, Search):
                play.finish(action.text if isinstance(action, Answer) else None)
                return
            if turn + 1 < play.options.max_turns:
                documents = await play.search(action.query)
                shown = await self.shown(play, action.query, documents)
                noisy = play.searches[-1].noisy
                play.add(Piece(Role.INFORMATION, render_information(shown), noisy))

    async def shown(
        self, play: Play, query: str, documents: Sequence[Document]
    ) -> Sequence[Document]:
        """Return what the model reads of ``documents``."""
        return documents
