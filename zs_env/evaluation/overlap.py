"""Overlap of two sets of questions: how much of a test set was trained on.

Two questions are alike to the degree that they share their words: the number of words in both,
divided by the number in either (the Jaccard index of their sets of words). Words are as the scores
of answers have them: lower-cased, without punctuation and articles. Questions that have the same
words in the same order stand in both sets *exactly*, others that are alike enough do so *nearly*.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from zs_env.checks import as_integer, as_share
from zs_env.questions import Question, QuestionSource
from zs_env.rewards import normalize_answer

_Words = frozenset[str]


class Match(NamedTuple):
    """A question, and the one in the other set that is most like it.

    Attributes:
        question: question of the first set.
        other: question of the other set.
        likeness: share of their words that are in both, in (0, 1].
        exact: whether the normalised texts are the same.
    """

    question: Question
    other: Question
    likeness: float
    exact: bool


@dataclass(frozen=True)
class Overlap:
    """How much of a set of questions stands in another.

    Attributes:
        num_questions: questions of the first set.
        num_exact: those that stand in the other set exactly.
        num_near: those that do so only nearly.
        examples: some of them: the near ones first, the least alike ones before the others.
    """

    num_questions: int
    num_exact: int
    num_near: int
    examples: tuple[Match, ...] = ()

    @property
    def share(self) -> float:
        """Share of the first set that stands in the other, exactly or nearly, in [0, 1]."""
        return (self.num_exact + self.num_near) / self.num_questions


def find_overlap(
    questions: QuestionSource,
    others: QuestionSource,
    least_likeness: float = 0.8,
    num_examples: int = 10,
) -> Overlap:
    """Return how many of ``questions`` stand in ``others``.

    Args:
        questions: the set that is asked about, such as a test set.
        others: the set to find them in, such as a training set.
        least_likeness: likeness from which a question stands there nearly, in (0, 1].
        num_examples: largest number of examples.

    Raises:
        ValueError: ``least_likeness`` is not in (0, 1], or ``num_examples`` is negative.
    """
    least = as_share("least_likeness", least_likeness)
    if least == 0.0:
        raise ValueError("`least_likeness` must be more than 0: at 0 all questions are alike.")
    as_integer("num_examples", num_examples, 0)
    index = _Index(_all(others), least)
    found = [match for each in _all(questions) if (match := index.find(each))]
    num_exact = sum(match.exact for match in found)
    examples = sorted(found, key=lambda match: (match.exact, match.likeness))  # the sort is stable
    return Overlap(
        num_questions=len(questions),
        num_exact=num_exact,
        num_near=len(found) - num_exact,
        examples=tuple(examples[:num_examples]),
    )


class _Index:
    """Finds the question most like another one.

    Only questions that share one of their rarest words are compared (prefix filtering: Chaudhuri et
    al. 2006). If two sets of words are alike to the degree t, each shares at least ceil(t n) of its
    n words; so the rarest word that both have is among the n - ceil(t n) + 1 rarest of each.
    """

    def __init__(self, questions: Iterable[Question], least: float) -> None:
        self._least = least
        self._questions = list(questions)
        texts = [_normalize(question.text) for question in self._questions]
        self._words = [frozenset(text.split()) for text in texts]
        self._by_text: dict[str, int] = {}
        for number, text in enumerate(texts):
            self._by_text.setdefault(text, number)
        self._counts: Mapping[str, int] = Counter(word for words in self._words for word in words)
        self._by_word: dict[str, list[int]] = defaultdict(list)
        for number, words in enumerate(self._words):
            for word in self._rarest(words):
                self._by_word[word].append(number)

    def find(self, question: Question) -> Match | None:
        """Return the best match of ``question``, the first of equal ones; None if none is alike."""
        text = _normalize(question.text)
        if text in self._by_text:
            return Match(question, self._questions[self._by_text[text]], 1.0, exact=True)
        words = frozenset(text.split())
        numbers = {number for word in self._rarest(words) for number in self._by_word.get(word, ())}
        likeness, best = max(
            ((self._likeness(words, self._words[number]), -number) for number in numbers),
            default=(0.0, 0),
        )
        if not numbers or likeness < self._least:
            return None
        return Match(question, self._questions[-best], likeness, exact=False)

    def _rarest(self, words: _Words) -> list[str]:
        # Both sides must order words alike; the slack is for rounding of the product.
        num_needed = len(words) - math.ceil(self._least * len(words) - 1e-9) + 1
        return sorted(words, key=lambda word: (self._counts.get(word, 0), word))[:num_needed]

    @staticmethod
    def _likeness(words: _Words, others: _Words) -> float:
        shared = len(words & others)
        return shared / (len(words) + len(others) - shared)


def _all(source: QuestionSource) -> Iterable[Question]:
    return (source[index] for index in range(len(source)))


def _normalize(text: str) -> str:
    # A text of punctuation and articles alone is compared as it is.
    return normalize_answer(text) or " ".join(text.lower().split())
