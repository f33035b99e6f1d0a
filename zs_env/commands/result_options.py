"""Arguments of commands that print results."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zs_env.evaluation.summary import Prices

PRICES = {
    "prompt": "a million tokens that the model reads",
    "completion": "a million tokens that the model writes",
    "search": "one search",
}


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    """Add prices and the domain to ``parser``."""
    group = parser.add_argument_group("results")
    for name, what in PRICES.items():
        group.add_argument(f"--price-{name}", type=float, metavar="N", help=f"price of {what}")
    group.add_argument(
        "--in-domain",
        nargs="+",
        metavar="QUESTIONS",
        help="sets that the agent was trained on, for the mean in domain and that out of domain; "
        "default: nq, hotpotqa, and the embedded world of seed 0",
    )


def prices_of(options: argparse.Namespace) -> Prices | None:
    """Return the prices that were given; None if none was.

    Raises:
        ValueError: a price is negative.
    """
    from zs_env.evaluation.summary import Prices

    given = {name: getattr(options, f"price_{name}") for name in PRICES}
    if all(price is None for price in given.values()):
        return None
    return Prices(**{name: price or 0.0 for name, price in given.items()})
