"""Counts of what searches have used, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from zs_env.errors import ZeroSearchError

SEARCH_API_PRICE = 275 / 30_000
"""US dollars a search: the tariff behind the paper's 586.7 for 64,000 searches (section 4.6)."""


@dataclass
class Usage:
    """Counts of what an engine has used so far.

    Attributes:
        searches: number of searches, answered or failed, including those that shared an answer.
        failed_searches: number of searches that failed.
        api_searches: number of queries sent to a search API. Searches for the same query that are
            under way at the same time share one; retries of a query do not count again.
        completions: number of messages that the language model wrote.
        prompt_tokens: number of tokens that the language model read.
        completion_tokens: number of tokens that the language model wrote.
        leaks: number of noisy documents that were thrown away because they held a golden answer.
        seconds: time waited for results, in seconds, summed over searches, which may overlap.
    """

    searches: int = 0
    failed_searches: int = 0
    api_searches: int = 0
    completions: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    leaks: int = 0
    seconds: float = 0.0

    @contextmanager
    def counting(self, searches: int = 1) -> Iterator[None]:
        """Count ``searches`` searches and their time, as failed after a `ZeroSearchError`."""
        start = time.perf_counter()
        self.searches += searches
        try:
            yield
        except ZeroSearchError:
            self.failed_searches += searches
            raise
        finally:
            self.seconds += time.perf_counter() - start

    def count_completion(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count one message of a language model."""
        self.completions += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens

    def search_api_cost(self, price_per_search: float = SEARCH_API_PRICE) -> float:
        """Return the cost of the queries sent to a search API, in the price's currency.

        For an engine that sends none: the cost of as many searches at a search API.
        """
        return (self.api_searches or self.searches) * price_per_search

    def token_cost(self, price_per_million_read: float, price_per_million_written: float) -> float:
        """Return the cost of the tokens at a hosted API, in the prices' currency."""
        return 1e-6 * (
            self.prompt_tokens * price_per_million_read
            + self.completion_tokens * price_per_million_written
        )

    def __str__(self) -> str:
        """Return the counts that apply as one line of text."""
        parts = [f"{self.searches} searches ({self.failed_searches} failed)"]
        if self.api_searches:
            parts.append(f"{self.api_searches} sent to a search API")
        if self.completions:
            parts.append(f"{self.completions} completions")
            parts.append(f"{self.prompt_tokens} + {self.completion_tokens} tokens")
        if self.leaks:
            parts.append(f"{self.leaks} noisy documents with a golden answer thrown away")
        line = ", ".join([*parts, f"{self.seconds:.1f} s"])
        if self.api_searches:
            return f"{line}; about {self.search_api_cost():.2f} USD"
        if self.completions:
            return f"{line}; at a search API about {self.search_api_cost():.2f} USD"
        return line
