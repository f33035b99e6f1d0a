"""Scores as the evaluation script of SQuAD 2.0 gives them, to stand beside published numbers.

Where no text is left empty by normalisation, they equal those of SQuAD 1.1 (Rajpurkar et al. 2016)
and those of `zs_env.rewards`. "The" and "?!" are left empty; only there do the three differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from zs_env.rewards import normalize_answer


def squad_exact_match(prediction: str, golden_answers: Sequence[str]) -> float:
    """Return 1.0 if the normalised prediction equals a normalised golden answer, else 0.0.

    As the evaluation script of SQuAD 2.0: golden answers that normalisation leaves empty are
    dropped; if none is left, only a prediction that is empty as well is right.
    """
    return float(normalize_answer(prediction) in _golden_texts(golden_answers))


def squad_f1(prediction: str, golden_answers: Sequence[str]) -> float:
    """Return the best token F1 over the golden answers.

    As the evaluation script of SQuAD 2.0: see `squad_exact_match`; if one of two texts is empty,
    their F1 is 1.0 if both are, else 0.0.
    """
    found = normalize_answer(prediction).split()
    return max(_f1(found, golden.split()) for golden in _golden_texts(golden_answers))


def _golden_texts(golden_answers: Sequence[str]) -> list[str]:
    return [text for text in map(normalize_answer, golden_answers) if text] or [""]


def _f1(found: list[str], golden: list[str]) -> float:
    if not found or not golden:
        return float(found == golden)
    shared = (Counter(found) & Counter(golden)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(found), shared / len(golden)
    return 2 * precision * recall / (precision + recall)
