"""What searches have used, and what they would have cost elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

SEARCH_API_PRICE = 275 / 30_000
"""US dollars a search: the tariff behind the paper's 586.7 for 64,000 searches (section 4.6)."""


@dataclass
class Usage:
    """What an engine that is played by a language model has used so far.

    Attributes:
        searches: answered or failed, those that shared an answer included.
        failed_searches: those of them that failed.
        completions: messages that the language model wrote.
        prompt_tokens: tokens that it read.
        completion_tokens: tokens that it wrote.
        seconds: waited for it, summed over searches that may have waited at the same time.
    """

    searches: int = 0
    failed_searches: int = 0
    completions: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def search_api_cost(self, price_per_search: float = SEARCH_API_PRICE) -> float:
        """What as many searches would have cost at a search API, in the price's currency."""
        return self.searches * price_per_search

    def token_cost(self, price_per_million_read: float, price_per_million_written: float) -> float:
        """What the tokens cost at a hosted API, in the prices' currency."""
        return 1e-6 * (
            self.prompt_tokens * price_per_million_read
            + self.completion_tokens * price_per_million_written
        )

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.searches} searches ({self.failed_searches} failed), "
            f"{self.completions} completions, {self.prompt_tokens} + {self.completion_tokens} "
            f"tokens, {self.seconds:.1f} s; at a search API about "
            f"{self.search_api_cost():.2f} USD"
        )
