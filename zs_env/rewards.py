"""Scores of an answer: pure functions of a prediction and the golden answers.

Normalisation and F1 follow the SQuAD evaluation (Rajpurkar et al. 2016), as the paper does
(arXiv 2505.04588, section 3.4). One departure: a text that normalisation would leave empty ("The",
"?!") is compared by its lower-cased words, so that no golden answer matches everything or nothing.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

GoldenAnswers = str | Iterable[str]
RewardFunction = Callable[[str, Sequence[str]], float]
_Words = tuple[str, ...]

YES_NO = ({"yes"}, {"no"})
"""Golden answers that occur in most texts, by chance."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_PUNCTUATION_BYTES = string.punctuation.encode()
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize_answer(text: str) -> str:
    """Lower-case ``text``, drop ASCII punctuation and English articles, single-space the words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def f1_score(prediction: str | None, golden_answers: GoldenAnswers) -> float:
    """Return the token F1, ``2 * precision * recall / (precision + recall)``.

    Of several golden answers, the one with the best F1 counts.

    Args:
        prediction: final answer; None if the episode has none.
        golden_answers: one string or several.

    Returns:
        A float in [0, 1]; 0.0 for None and for an answer without words.

    Raises:
        ValueError: there is no golden answer.
    """
    return _best_scores(prediction, golden_answers)[0]


def exact_match(prediction: str | None, golden_answers: GoldenAnswers) -> float:
    """Return 1.0 if the normalised prediction equals a normalised golden answer, else 0.0.

    Arguments and errors as for `f1_score`.
    """
    return _best_scores(prediction, golden_answers)[1]


def substring_match(prediction: str | None, golden_answers: GoldenAnswers) -> float:
    """Return 1.0 if a golden answer occurs in the prediction as consecutive words, else 0.0.

    Long answers match by chance (arXiv 2505.04588, section 3.4): use it as a metric rather than as
    a reward. Arguments and errors as for `f1_score`.
    """
    return _best_scores(prediction, golden_answers)[2]


def all_scores(prediction: str | None, golden_answers: GoldenAnswers) -> dict[str, float]:
    """Return each score of `REWARDS` by name. Arguments and errors as for `f1_score`."""
    f1, exact, substring = _best_scores(prediction, golden_answers)
    return {"f1": f1, "exact_match": exact, "substring_match": substring}


REWARDS: dict[str, RewardFunction] = {
    "f1": f1_score,
    "exact_match": exact_match,
    "substring_match": substring_match,
}


def check_reward(reward: str | RewardFunction) -> None:
    """Check that ``reward`` is a name in `REWARDS` or a callable.

    Raises:
        ValueError: no reward has that name.
        TypeError: ``reward`` is neither a name nor callable.
    """
    if callable(reward):
        return
    if not isinstance(reward, str):
        raise TypeError(
            f"`reward` must be a name or a callable (prediction, golden_answers) -> float, "
            f"got {type(reward).__name__}."
        )
    if reward not in REWARDS:
        raise ValueError(
            f"`reward` must be one of {', '.join(REWARDS)}, or a callable, got {reward!r}."
        )


def may_contain(text: str, golden_answers: Sequence[str]) -> bool:
    """Return whether ``text``, or a part of it, may be a `substring_match`; False is certain.

    A fast test on bytes: most documents fail it, and need no exact comparison.
    """
    lower = text.lower().encode("utf-8", "surrogatepass")  # texts may hold lone surrogates
    bare = lower.translate(None, _PUNCTUATION_BYTES)
    for golden in golden_answers:
        for word in _golden_bytes(golden):
            if word not in bare:
                break
        else:
            return True
    return False


def golden_answer_in(
    texts: Iterable[str], golden_answers: Sequence[str], query: str = ""
) -> bool | None:
    """Return whether a golden answer occurs in one of ``texts``, as consecutive words.

    What is noise and what gives an answer away is told by this everywhere.

    Args:
        texts: texts, such as title and text of a document.
        golden_answers: golden answers of the question.
        query: what the texts were found or written for.

    Returns:
        True or False; None if the occurrence would say nothing: there is no golden answer with a
        word, it is yes or no, or the query names one, so that texts about it must, too.
    """
    golden = {normalize_answer(answer) for answer in golden_answers} - {""}
    if not golden or golden in YES_NO or (query and substring_match(query, golden_answers)):
        return None
    return any(
        may_contain(text, golden_answers) and bool(substring_match(text, golden_answers))
        for text in texts
    )


def _words(text: str) -> _Words:
    return tuple(normalize_answer(text).split() or text.lower().split())


# Golden answers are scored many times, a prediction seldom twice: only the former are cached.
_golden_words = lru_cache(maxsize=4096)(_words)


@lru_cache(maxsize=4096)
def _golden_bytes(golden: str) -> list[bytes]:
    # Normalised as the text is; with punctuation alone no word is left, and any text may match.
    words = normalize_answer(golden).split()
    return [word.encode("utf-8", "surrogatepass") for word in words]


def _best_scores(
    prediction: str | None, golden_answers: GoldenAnswers
) -> tuple[float, float, float]:
    """Return F1, exact match and substring match, each the best over the golden answers."""
    golden = [golden_answers] if isinstance(golden_answers, str) else list(golden_answers)
    if not golden:
        raise ValueError("`golden_answers` must hold at least one answer, got none.")
    found = _words(prediction) if prediction is not None else ()
    if not found:
        return 0.0, 0.0, 0.0
    pairs = [_scores(found, _golden_words(answer)) for answer in golden]
    if len(pairs) == 1:  # the usual case
        return pairs[0]
    f1, exact, substring = map(max, zip(*pairs, strict=True))
    return f1, exact, substring


def _scores(found: _Words, golden: _Words) -> tuple[float, float, float]:
    """Return F1, exact match and substring match of ``found``, which holds at least one word."""
    # Most pairs are equal or have no word in common; neither needs the slow counting below.
    if found == golden:
        return 1.0, 1.0, 1.0
    if set(golden).isdisjoint(found):
        return 0.0, 0.0, 0.0
    shared = (Counter(found) & Counter(golden)).total()
    precision, recall = shared / len(found), shared / len(golden)
    f1 = 2 * precision * recall / (precision + recall)
    # The spaces restrict the match to whole words.
    return f1, 0.0, float(f" {' '.join(golden)} " in f" {' '.join(found)} ")
