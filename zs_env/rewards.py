"""How an answer scores: pure functions of a prediction and the golden answers.

Normalisation and F1 follow the SQuAD evaluation (Rajpurkar et al. 2016), as the paper does
(arXiv 2505.04588, section 3.4). One departure: a text that normalisation would leave empty ("The",
"?!") is compared by its lower-cased words, so that no golden answer matches everything or nothing.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

GoldenAnswers = str | Iterable[str]
RewardFunction = Callable[[str, Sequence[str]], float]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
    """Lower-case, drop ASCII punctuation, drop English articles, and single-space the words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def f1_score(prediction: str | None, golden_answers: GoldenAnswers) -> float:
    """Token F1, ``2 * precision * recall / (precision + recall)``, best over the golden answers.

    Args:
        prediction: the final answer; None where the episode has none.
        golden_answers: one string or several.

    Returns:
        A float in [0, 1]; 0.0 for None and for an answer without words.

    Raises:
        ValueError: there is no golden answer.
    """
    return _best(_pair_f1, prediction, golden_answers)


def exact_match(prediction: str | None, golden_answers: GoldenAnswers) -> float:
    """1.0 if the normalised prediction equals a normalised golden answer, else 0.0.

    Arguments and errors as for `f1_score`.
    """
    return _best(lambda found, golden: float(found == golden), prediction, golden_answers)


def substring_match(prediction: str | None, golden_answers: GoldenAnswers) -> float:
    """1.0 if a golden answer stands in the prediction as whole words in a row, else 0.0.

    Rewards long answers that hit by luck (arXiv 2505.04588, section 3.4): a metric, hardly a
    reward. Arguments and errors as for `f1_score`.
    """
    return _best(_pair_substring, prediction, golden_answers)


def contains_answer(text: str, golden_answers: Sequence[str]) -> bool:
    """Whether ``text``, say a document, states a golden answer: `substring_match` as a fast bool."""
    bare = text.lower().translate(_PUNCTUATION)
    return any(
        max(_words(golden), key=len, default=golden) in bare for golden in golden_answers
    ) and bool(substring_match(text, golden_answers))


REWARDS: dict[str, RewardFunction] = {
    "f1": f1_score,
    "exact_match": exact_match,
    "substring_match": substring_match,
}


def get_reward(reward: str | RewardFunction) -> RewardFunction:
    """The reward function called ``reward``; a callable is returned as it is.

    Raises:
        ValueError: no reward has that name.
        TypeError: ``reward`` is neither a name nor callable.
    """
    if callable(reward):
        return reward
    if not isinstance(reward, str):
        raise TypeError(
            f"`reward` must be a name or a callable (prediction, golden_answers) -> float, "
            f"got {type(reward).__name__}."
        )
    if reward not in REWARDS:
        raise ValueError(
            f"`reward` must be one of {', '.join(REWARDS)}, or a callable, got {reward!r}."
        )
    return REWARDS[reward]


def _words(text: str) -> list[str]:
    return normalize_answer(text).split() or text.lower().split()


def _best(
    score: Callable[[list[str], list[str]], float],
    prediction: str | None,
    golden_answers: GoldenAnswers,
) -> float:
    golden = [golden_answers] if isinstance(golden_answers, str) else list(golden_answers)
    if not golden:
        raise ValueError("`golden_answers` must hold at least one answer, got none.")
    found = _words(prediction) if prediction is not None else []
    if not found:
        return 0.0
    return max(score(found, _words(answer)) for answer in golden)


def _pair_f1(found: list[str], golden: list[str]) -> float:
    shared = (Counter(found) & Counter(golden)).total()
    if shared == 0:
        return 0.0
    precision, recall = shared / len(found), shared / len(golden)
    return 2 * precision * recall / (precision + recall)


def _pair_substring(found: list[str], golden: list[str]) -> float:
    return float(bool(golden) and f" {' '.join(golden)} " in f" {' '.join(found)} ")
