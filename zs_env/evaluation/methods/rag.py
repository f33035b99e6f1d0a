"""Retrieval-augmented generation (Lewis et al. 2020, arXiv 2005.11401): one search, one answer.

The baseline "RAG" of arXiv 2505.04588: the question itself is the query. Departure: the retriever
is whatever engine is named, and nothing is trained.
"""

from __future__ import annotations

from zs_env.evaluation.methods.base import Method
from zs_env.evaluation.methods.direct import read_short_answer
from zs_env.evaluation.methods.documents import listed
from zs_env.evaluation.play import Play
from zs_env.evaluation.prompts import RETRIEVAL


class RetrievalAugmented(Method):
    """One search with the question, then an answer."""

    async def play(self, play: Play) -> None:
        """Search, ask, and take the answer."""
        found = await play.search(play.question.text)
        play.begin(RETRIEVAL, documents=listed(found))
        play.finish(read_short_answer(await play.write()))
