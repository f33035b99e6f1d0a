"""Scripted agents that never search: what can be earned by guessing."""

from __future__ import annotations

from collections import Counter, defaultdict

from zs_env.actions import ANSWER, tagged
from zs_env.keyed_random import Stream
from zs_env.rewards import f1_score
from zs_env.world.plans import parse_question
from zs_env.world.world import World

LIST_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
"""Lengths of the lists of words that `BestGuess` tries as answers."""


class RandomGuess:
    """Policy that answers with a random name of the world, whatever is asked.

    Args:
        world: world of the questions.
    """

    def __init__(self, world: World) -> None:
        self._names = world.names

    def __call__(self, observation: str) -> str:
        """Return the answer, as the only turn; it follows from the question."""
        draw = Stream("random guess", question_in(observation))
        return tagged(ANSWER, draw.choice(self._names))


class BestGuess:
    """Best policy that never searches, learned from all train questions and their answers.

    For the relation that a question asks for last, it gives the answer with the highest mean F1 on
    the train questions: one of their answers, or a list of their most frequent words.

    Args:
        world: world of the questions.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        answers = defaultdict(list)
        for question in world.questions("train"):
            answers[self._asked(question.text)].append(question.golden_answers[0])
        self.guesses = {relation: _best(golden) for relation, golden in answers.items()}

    def guess(self, question: str) -> str:
        """Return the answer to ``question``."""
        return self.guesses.get(self._asked(question), "")

    def __call__(self, observation: str) -> str:
        """Return the answer, as the only turn."""
        return tagged(ANSWER, self.guess(question_in(observation)))

    def _asked(self, question: str) -> str:
        plan = parse_question(self.world, question)
        return plan.relation.name if plan else ""


def question_in(observation: str) -> str:
    """Return the question that the first observation of an episode ends with."""
    return observation.rsplit("Question: ", 1)[1].strip()


def _best(golden: list[str]) -> str:
    frequent = [word for word, _ in Counter(" ".join(golden).split()).most_common(64)]
    lists = [" ".join(frequent[:length]) for length in LIST_LENGTHS]
    common = [answer for answer, _ in Counter(golden).most_common(40)]
    sample = golden[:400]  # enough to rank the candidates
    return max([*lists, *common], key=lambda guess: sum(f1_score(guess, g) for g in sample))
