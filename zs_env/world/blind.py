"""The best policy that never searches: the highest mean F1 that knowing only the question can earn.

In a world of 1-hop questions with one-word answers this can be worked out. Objects of facts are
drawn independently and uniformly, so train facts say nothing of test facts, and of the question
only its relation says something of the answer: which K words it may be. A list of m of them holds
the right one with probability m / K, and has an F1 of 2 / (m + 1) then.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from zs_env.world.world import World


class BlindScore(NamedTuple):
    """What can be earned without searching on the questions of one relation.

    Attributes:
        num_questions: questions of the split that ask for it.
        num_answers: K, how many answers it can have.
        num_listed: m, how many of them the best policy lists.
        expected_f1: F1 to expect of that list, in [0, 1]. No policy that knows nothing of the
            split's facts can expect more.
        fitted_f1: mean F1 of the best list that was chosen for these very questions, by their
            golden answers. It is the more above ``expected_f1`` the fewer questions there are.
    """

    num_questions: int
    num_answers: int
    num_listed: int
    expected_f1: float
    fitted_f1: float


def blind_scores(world: World, split: str = "test") -> dict[str, BlindScore]:
    """What can be earned without searching on the questions of ``split``, by relation.

    Raises:
        ValueError: the world has longer questions or answers, for which there is no such formula.
    """
    golden, num_answers = _golden_answers(world, split)
    return {name: _blind_score(golden[name], num_answers[name]) for name in sorted(golden)}


def mean_score(scores: Iterable[BlindScore]) -> tuple[float, float]:
    """The mean over all questions of ``expected_f1`` and of ``fitted_f1``."""
    scores = list(scores)
    total = sum(score.num_questions for score in scores)
    expected = sum(score.expected_f1 * score.num_questions for score in scores)
    fitted = sum(score.fitted_f1 * score.num_questions for score in scores)
    return expected / total, fitted / total


def list_f1(num_listed: int, num_answers: int) -> float:
    """F1 to expect of a list of ``num_listed`` out of ``num_answers`` equally likely words."""
    return num_listed / num_answers * 2 / (num_listed + 1)


def fitted_f1(golden_answers: Sequence[str]) -> float:
    """The highest mean F1 of one list of words for questions with these one-word answers."""
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
    """By relation, the answers of a split's questions, and how many answers there can be."""
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
