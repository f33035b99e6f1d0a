"""Tokens, seconds and price of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zs_env.evaluation.summary import Prices
from zs_env.simulation.fidelity.asked import Cost
from zs_env.simulation.fidelity.estimate import Figure, mean_figure
from zs_env.simulation.fidelity.figures import Column, Figures, Setting


def cost_figures(column: Column, setting: Setting, *, real: bool = False) -> Figures:
    """Return tokens, seconds and price of a search, over all kinds of searches of a column.

    The price of a search of a simulator is that of its tokens and of what it sent to a search API;
    that of the real engine is the price of one search, unless it counts what it sent.
    """
    costs = [
        search.cost
        for search in (*column.useful, *column.noisy, *column.again)
        if search is not None and search.cost is not None
    ]
    figures = {
        "seconds": _cost(costs, lambda cost: cost.seconds),
        "prompt_tokens": _cost(costs, lambda cost: cost.prompt_tokens),
        "completion_tokens": _cost(costs, lambda cost: cost.completion_tokens),
    }
    prices = setting.prices
    if prices is not None:
        figures["price"] = _cost(costs, lambda cost: _price(cost, prices, real))
    return figures


def _price(cost: Cost, prices: Prices, real: bool) -> float:
    tokens = (cost.prompt_tokens or 0.0) * prices.prompt
    tokens += (cost.completion_tokens or 0.0) * prices.completion
    sent = cost.api_searches if cost.api_searches or not real else 1.0
    return tokens / 1e6 + (sent or 0.0) * prices.search


def _cost(costs: Sequence[Cost], value_of: Callable[[Cost], float | None]) -> Figure | None:
    known = [(cost.batch, value_of(cost)) for cost in costs]
    kept = [(batch, value) for batch, value in known if value is not None]
    return mean_figure([value for _, value in kept], [batch for batch, _ in kept])
