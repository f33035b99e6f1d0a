"""Questions and passages of real text, for tests of the chain that tunes a simulation LLM."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tests.simulation_data import DATA

COUNTRIES = (
    ("Peru", "Lima", "the Andes", "potatoes"),
    ("Kenya", "Nairobi", "the Great Rift Valley", "tea"),
    ("Norway", "Oslo", "the Scandinavian Mountains", "salmon"),
    ("Japan", "Tokyo", "the Japanese Alps", "rice"),
    ("Austria", "Vienna", "the Alps", "apricots"),
    ("Mongolia", "Ulaanbaatar", "the Altai Mountains", "cashmere"),
    ("Iceland", "Reykjavik", "the Highlands", "cod"),
    ("Morocco", "Rabat", "the Atlas Mountains", "oranges"),
    ("Nepal", "Kathmandu", "the Himalayas", "ginger"),
    ("Bolivia", "Sucre", "the Cordillera Real", "quinoa"),
)
PASSAGES = (
    "The capital of {0} is {1}, a city with a long history and a large market in its old centre.",
    "Travellers who come to {0} mostly visit {2}, where the capital is far away and roads are few.",
    "What the farmers of the country grow is sold abroad: {3} of {0} are known in many countries.",
)


def questions_and_passages(folder: Path) -> tuple[Path, Path]:
    """Files of questions that the passages may answer, and of the passages.

    Real ones, where they lie beside the project; else a few of our own, written to ``folder``.
    """
    source, passages = DATA / "multihop_train.jsonl", DATA / "wikipedia_passages.jsonl"
    questions = folder / "questions.jsonl"
    if source.is_file() and passages.is_file():
        text = passages.read_text()
        lines = islice(map(json.loads, source.read_text().splitlines()), 3000)
        return _write(questions, (line for line in lines if line["answers"][0] in text)), passages
    asked = (
        {"question": f"What is the capital of {name}?", "answers": [capital]}
        for name, capital, *_ in COUNTRIES
    )
    found = (
        {"id": f"{country[0]}#{number}", "title": country[0], "text": text.format(*country)}
        for country in COUNTRIES
        for number, text in enumerate(PASSAGES)
        if number or country not in COUNTRIES[-2:]  # whose capitals cannot be found
    )
    return _write(questions, asked), _write(folder / "passages.jsonl", found)


def _write(path: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
