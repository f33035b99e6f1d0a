"""Searches by rote, for questions about any text: no model, and no answer.

To collect what an engine returns (`zs_env.simulation.collect`) where no policy is at hand.
"""

from __future__ import annotations

import re

from zs_env.evaluation.methods.base import Method
from zs_env.evaluation.play import Play

COMMON_WORDS = frozenset(
    "a an the and or of in on at to for from by with as is are was were be been am do does did has "
    "have had who whom whose what which when where why how that this these those it its he his she "
    "her they their there".split()
)
"""English words that say little of what is asked."""

_NAME = re.compile(r"[^\W\d_a-zß-ÿ][\w'’.-]*(?: (?:(?:of|the|and|de|von) )*[^\W_a-zß-ÿ][\w'’.-]*)*")


class Parts(Method):
    """One search each with the question, with its words that are not common, and with its names."""

    needs_model = False

    async def play(self, play: Play) -> None:
        """Search, as often as there are different queries, and give no answer."""
        for query in queries_of(play.question.text):
            await play.search(query)


def queries_of(question: str) -> list[str]:
    """Return the queries: the question, its words that are not common, and each name in it.

    A name is a row of words that begin in upper case, as `Bank of England` is, and not the first
    word of the question alone.
    """
    words = [word.strip(',;:?!"“”()') for word in question.split()]
    telling = [word for word in words if word and word.lower() not in COMMON_WORDS]
    names = [re.sub(r"['’]s$|[.'’-]+$", "", match[0]) for match in _NAME.finditer(question)]
    first = words[0] if words else ""
    queries = [question.strip(), " ".join(telling), *(name for name in names if name != first)]
    return [query for query in dict.fromkeys(queries) if query]
