"""Agents that never search."""

from __future__ import annotations

from zs_env.actions import parse_action
from zs_env.rewards import f1_score
from zs_env.world import load_world
from zs_env.world.guesser import BestGuess, RandomGuess

WORLD = load_world(0, "tiny")


def answers(policy, questions):
    return [parse_action(policy(f"{question.text}\nQuestion: {question.text}\n")).text
            for question in questions]  # fmt: skip


def test_random_guess_is_a_name_that_follows_from_the_question():
    questions = WORLD.questions("test")
    guesses = answers(RandomGuess(WORLD), questions)
    assert guesses == answers(RandomGuess(WORLD), questions)
    assert set(guesses) <= set(WORLD.names) and len(set(guesses)) > 50


def test_best_guess_is_the_best_answer_to_the_train_questions_of_each_relation():
    train = WORLD.questions("train")
    guesser = BestGuess(WORLD)
    for relation, guess in guesser.guesses.items():
        golden = [
            question.golden_answers[0]
            for index, question in enumerate(train)
            if train.facts(index)[0].relation.name == relation
        ]
        scores = {name: sum(f1_score(name, other) for other in golden) for name in set(golden)}
        assert sum(f1_score(guess, other) for other in golden) >= max(scores.values())


def test_best_guess_answers_nothing_it_does_not_understand():
    assert BestGuess(WORLD).guess("What is this?") == ""
