"""Engine that finds documents of other questions: whether an agent reads what it finds."""

from __future__ import annotations

from typing import Any

from zs_env import keyed_random
from zs_env.documents import SearchRequest, SearchResult, clean_text
from zs_env.engines import SearchEngine, checked_asearch
from zs_env.questions import QuestionSource


class RandomEngine(SearchEngine):
    """Engine that answers a search with what ``engine`` finds for another question.

    Args:
        engine: engine that is asked.
        questions: questions, one of which is drawn by the key of the request.
    """

    honours_noise = False

    def __init__(self, engine: SearchEngine, questions: QuestionSource) -> None:
        self._engine = engine
        self._questions = questions

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """Search for another question than that of ``request``."""
        count = len(self._questions)
        start = int(keyed_random.uniform("other question", request.key) * count)
        for step in range(count):
            other = self._questions[(start + step) % count]
            if other.text != request.question:
                break
        asked = request._replace(
            query=clean_text(other.text),
            question=other.text,
            golden_answers=other.golden_answers,
            noisy=False,
        )
        return await checked_asearch(self._engine, asked)

    def identity(self) -> dict[str, Any]:
        """Return the engine that is asked."""
        return {"engine": self._engine.identity()}
