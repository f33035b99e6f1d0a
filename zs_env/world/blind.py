"""Highest mean F1 of a policy that never searches and knows only the question.

It can be computed for a world of 1-hop questions with one-word answers. Objects of facts are drawn
independently and uniformly, so train facts say nothing about test facts, and only the relation of a
question says something about its answer: it is one of K words. A list of m of them contains the
right one with probability m / K, and then has an F1 of 2 / (m + 1).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from zs_env.world.world import World


class BlindScore(NamedTuple):
    """Best score without searching on the questions of one relation.

    Attributes:
        num_questions: number of the split's questions about the relation.
        num_answers: K, the number of possible answers.
        num_listed: m, the number of answers that the best policy lists.
        expected_f1: expected F1 of that list, in [0, 1]. No policy that does not know the split's
            facts can expect more.
        fitted_f1: mean F1 of the list that is best for these questions, chosen by their golden
            answers. The fewer questions there are, the more it exceeds ``expected_f1``.
    """

    num_questions: int
    num_answers: int
    num_listed: int
    expected_f1: float
    fitted_f1: float


def blind_scores(world: World, split: str = "test") -> dict[str, BlindScore]:
    """Return the best scores without searching on the questions of ``split``, by relation.

    Raises:
        ValueError: the world has longer questions or answers, for which the formula does not hold.
    """
    golden, num_answers = _golden_answers(world, split)
    return {name: _blind_score(golden[name], num_answers[name]) for name in sorted(golden)}


def mean_score(scores: Iterable[BlindScore]) -> tuple[float, float]:
    """Return the means of ``expected_f1`` and of ``fitted_f1`` over all questions."""
    scores = list(scores)
    total = sum(score.num_questions for score in scores)
    expected = sum(score.expected_f1 * score.num_questions for score in scores)
    fitted = sum(score.fitted_f1 * score.num_questions for score in scores)
    return expected / total, fitted / total


def list_f1(num_listed: int, num_answers: int) -> float:
    """Return the expected F1 of a list of ``num_listed`` of ``num_answers`` likely words."""
    return num_listed / num_answers * 2 / (num_listed + 1)


def fitted_f1(golden_answers: Sequence[str]) -> float:
    """Return the highest mean F1 of one list of words for questions with these answers."""
    hits, best = 0, 0.0
    for num_listed, (_, count) in enumerate(Counter(golden_answers).most_common(), start=1):
        hits += count
        best = max(best, hits / len(golden_answers) * 2 / (num_listed + 1))
    return best


def _blind_score(golden_answers: list[str], num_answers: int) -> BlindScore:
    lengths = range(1, num_answers + 1)
    num_listed = max(lengths, key=lambda length: list_f1(length, num_answers))
    expected_f1 = list_f1(num_listed, num_answers)
    fitted = fitted_f1(golden_answers)
    return BlindScore(len(golden_answers), num_answers, num_listed, expected_f1, fitted)


def _golden_answers(world: World, split: str) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Return the answers of a split's questions and the number of possible ones, by relation."""
    questions = world.questions(split)
    golden: dict[str, list[str]] = defaultdict(list)
    num_answers: dict[str, int] = {}
    for index, question in enumerate(questions):
        fact, *more = questions.facts(index)
        answer = question.golden_answers[0]
        if more or " " in answer:
            raise ValueError(
                "what can be earned without searching is known only for a world of 1-hop questions "
                f"with one-word answers, such as the size 'tiny', got {world!r} with {question!r}."
            )
        golden[fact.relation.name].append(answer)
        num_answers[fact.relation.name] = len(world.object_range(fact.relation))
    return golden, num_answers
