"""Engine that finds nothing: a probe of whether an agent needs what it searches for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zs_env.documents import SearchRequest, SearchResult
from zs_env.engines.base import SearchEngine


class EmptyEngine(SearchEngine):
    """Engine that answers each search with no documents."""

    honours_noise = False

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Find nothing."""
        return [SearchResult() for _ in requests]

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """Find nothing."""
        return SearchResult()

    def identity(self) -> dict[str, Any]:
        """Return nothing: all such engines are alike."""
        return {}
