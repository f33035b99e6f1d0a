"""Google, through a search API: Serper or SerpAPI."""

from __future__ import annotations

from typing import Any, NamedTuple

from zs_env.concurrency.attempts import no_answer
from zs_env.concurrency.event_loop import PerLoop
from zs_env.concurrency.http import Access, JsonServers
from zs_env.concurrency.keys import read_key
from zs_env.concurrency.servers import Patience
from zs_env.concurrency.single_flight import SingleFlight
from zs_env.concurrency.urls import public_url
from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines.base import SearchEngine
from zs_env.engines.usage import Usage
from zs_env.errors import ServiceError


class Provider(NamedTuple):
    """Search API.

    Attributes:
        url: address of the API.
        key_env: environment variable that usually holds the key.
        results: field of an answer that lists the results.
    """

    url: str
    key_env: str
    results: str


PROVIDERS = {
    "serper": Provider("https://google.serper.dev/search", "SERPER_API_KEY", "organic"),
    "serpapi": Provider("https://serpapi.com/search.json", "SERPAPI_API_KEY", "organic_results"),
}


class GoogleEngine(SearchEngine):
    """Engine that searches the web; a document is a result's title and snippet.

    It ignores ``noisy``. The key is read from the environment and sent only to the provider.

    Args:
        provider: ``serper`` or ``serpapi``.
        key_env: environment variable that holds the key; by default ``SERPER_API_KEY`` or
            ``SERPAPI_API_KEY``.
        url: address to use in place of the provider's own.
        timeout_s: time limit of one attempt, in seconds.
        deadline_s: time limit of a request, in seconds, waiting and retries included.
        max_attempts: most attempts of one request.
        max_concurrency: most requests under way at the same time.

    Raises:
        ServiceError: ``url`` is not a URL.
        ValueError: the provider is unknown, or a limit is not positive.

    Attributes:
        usage: counts of what searches have used, `Usage`; the provider charges for
            ``api_searches``.
    """

    honours_noise = False

    def __init__(
        self,
        provider: str = "serper",
        key_env: str | None = None,
        url: str | None = None,
        timeout_s: float = 20.0,
        deadline_s: float = 60.0,
        max_attempts: int = 5,
        max_concurrency: int = 32,
    ) -> None:
        if provider not in PROVIDERS:
            raise ValueError(f"`provider` must be one of {', '.join(PROVIDERS)}, got {provider!r}.")
        self._name = provider
        self._provider = PROVIDERS[provider]
        self._key_env = key_env or self._provider.key_env
        self._url = url or self._provider.url
        patience = Patience(timeout_s, deadline_s, max_attempts, max_concurrency)
        self._servers = JsonServers(self._url, patience, self._read_access, use_proxy=True)
        self.usage: Usage = Usage()
        self._flights: PerLoop[SingleFlight[SearchResult]] = PerLoop(SingleFlight)

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """Find the documents of one request."""
        with self.usage.counting():
            return await self._find(request.query, request.top_k)

    def identity(self) -> dict[str, Any]:
        """Return the provider and its address."""
        return {"provider": self._name, "url": public_url(self._url)}

    def check(self) -> None:
        """Check that there is a key. Nothing is sent, because a search would cost money.

        Raises:
            ServiceError: there is no key, or it cannot be sent.
        """
        if not read_key(self._key_env):
            raise ServiceError(
                f"{self._name} needs a key: set the environment variable {self._key_env}."
            )

    def close(self) -> None:
        """Close the connections."""
        self._servers.close()

    def _read_access(self) -> Access:
        key = read_key(self._key_env)
        if self._name == "serper":
            return Access(headers={"X-API-KEY": key}, secrets=(key,))
        return Access(params={"engine": "google", "api_key": key}, secrets=(key,))

    async def _find(self, query: str, top_k: int) -> SearchResult:
        async def ask() -> SearchResult:  # once for all equal searches that are under way
            self.usage.api_searches += 1
            body = {"q": query, "num": top_k}
            if self._name == "serper":
                documents = await self._servers.ask(payload=body, read=self._read)
            else:
                documents = await self._servers.ask(params=body, read=self._read)
            return SearchResult(documents[:top_k])

        return await self._flights.get().run((query, top_k), ask)

    def _read(self, answer: Any) -> tuple[Document, ...]:
        """Return the documents of an answer, perhaps none; raise Retry if it is malformed."""
        try:
            results = answer.get(self._provider.results) or ()
            return tuple(
                Document(result.get("snippet") or "", result.get("title") or "")
                for result in results
            )
        except (TypeError, AttributeError):
            raise no_answer(f"an answer of {self._name}", answer) from None


load = GoogleEngine
