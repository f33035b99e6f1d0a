"""Search-o1 (Li et al. 2025, arXiv 2501.05366): a retrieval agent that condenses what it finds.

After each search the model reads the documents apart, with its reasoning so far, and only what it
writes then enters the transcript ("reason in documents", section 3.4). Departures: those of
`ra_agent`; the prompt is ours; documents are what the engine returns, not whole web pages.
"""

from __future__ import annotations

from collections.abc import Sequence

from zs_env.actions import without_thoughts
from zs_env.documents import Document, clean_text
from zs_env.episode import Role
from zs_env.evaluation.methods.documents import listed
from zs_env.evaluation.methods.ra_agent import RetrievalAgent
from zs_env.evaluation.play import Play
from zs_env.evaluation.prompts import NOTHING_HELPFUL, REASON_IN_DOCUMENTS


class SearchO1(RetrievalAgent):
    """Reasoning with searches, whose documents the model condenses."""

    async def shown(
        self, play: Play, query: str, documents: Sequence[Document]
    ) -> Sequence[Document]:
        """Have the model write what in ``documents`` helps."""
        own = " ".join(piece.text for piece in play.pieces if piece.role is Role.POLICY)
        condensed = await play.ask(
            REASON_IN_DOCUMENTS,
            reasoning=clean_text(own),
            query=clean_text(query),
            documents=listed(documents),
        )
        return [Document(clean_text(without_thoughts(condensed) or NOTHING_HELPFUL))]
