"""Pairs about the embedded world, as few and as short as tests need them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from zs_env.documents import SearchRequest, SearchResult
from zs_env.prompts import render_simulation
from zs_env.world import load_world
from zs_env.world.text import corpus

WORDING = "{quality} query: {query}\nquestion: {question}\nanswer: {golden_answers}\n"
"""Template of a simulated engine, in the words of the world."""


def make_pairs(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Useful ones with a page of the title that is asked for, noisy ones with another page."""
    pages = list(islice(corpus(load_world()), first, first + count + 7))
    pairs = []
    for number, page in enumerate(pages[:count]):
        label = "noisy" if number % 2 else "useful"
        shown = pages[number + 7] if number % 2 else page
        answer = page.text.rstrip(".").split()[-1]
        text = " ".join(shown.text.split()[: 8 + 3 * (number % 5)])
        pairs.append(
            {
                "prompt": f"quality: {label}\nquery: {page.title}\nanswer: {answer}\n",
                "completion": f"Doc 1 ({shown.title}): {text}\nDoc 2: {shown.title}.",
                "label": label,
                "golden_answers": [page.title if number % 4 == 0 else answer],
            }
        )
    return pairs


def write_pairs(path: Path, pairs: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


def requests_and_pairs() -> tuple[list[SearchRequest], list[dict[str, Any]]]:
    """Four searches, and pairs with the prompts that `WORDING` makes of them."""
    requests, pairs = [], []
    for pair in make_pairs(4):
        query = pair["prompt"].partition("query: ")[2].splitlines()[0]
        noisy, golden = pair["label"] == "noisy", tuple(pair["golden_answers"])
        requests.append(SearchRequest("the city", query, golden, noisy=noisy, top_k=2))
        pairs.append({**pair, "prompt": render_simulation(WORDING, requests[-1], "Google")})
    return requests, pairs


def same_documents(results: Sequence[SearchResult], pairs: Sequence[dict[str, Any]]) -> bool:
    """Whether the documents are those of the completions, whatever the case."""
    written = []
    for result in results:
        first, second = result.documents
        written.append(f"Doc 1 ({first.title}): {first.text}\nDoc 2: {second.text}".lower())
    return written == [pair["completion"].lower() for pair in pairs]
