"""Pairs about the embedded world, as few and as short as tests need them."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

from zs_env.world import load_world
from zs_env.world.text import corpus


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
