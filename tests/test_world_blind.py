"""What can be earned without searching, worked out by hand and by trying."""

from __future__ import annotations

import pytest

from zs_env.rewards import f1_score
from zs_env.world import load_world
from zs_env.world.blind import blind_scores, fitted_f1, list_f1, mean_score

WORLD = load_world(0, "tiny")
SCORES = blind_scores(WORLD)


def test_list_f1_by_hand():
    assert list_f1(1, 12) == pytest.approx(1 / 12)  # right once in twelve, then F1 1
    assert list_f1(2, 4) == pytest.approx(1 / 3)  # right every other time, then F1 2/3
    assert list_f1(12, 12) == pytest.approx(2 / 13)  # always right: precision 1/12, recall 1


def test_list_f1_is_what_the_reward_gives_on_average():
    words = ["Ash", "Elm", "Fir", "Oak", "Yew"]
    for length in range(1, 6):
        listed = " ".join(words[:length])
        mean = sum(f1_score(listed, word) for word in words) / len(words)
        assert list_f1(length, 5) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("golden", "expected"),
    [
        (["Ash"] * 3 + ["Elm"], 3 / 4),  # one of them; both would give 2/3
        (["Ash", "Elm"], 2 / 3),  # both; one would give 1/2
        (["Ash", "Ash", "Elm", "Elm", "Fir"], 4 / 5 * 2 / 3),  # two; one 2/5, all three 1/2
    ],
)
def test_fitted_f1_by_hand(golden, expected):
    assert fitted_f1(golden) == pytest.approx(expected)


def test_blind_scores_of_the_tiny_world_by_hand():
    assert set(SCORES) == {"birthplace", "residence", "employer"}
    for name, num_answers in (("birthplace", 16), ("residence", 16), ("employer", 12)):
        score = SCORES[name]
        assert (score.num_questions, score.num_answers, score.num_listed) == (
            88,
            num_answers,
            num_answers,
        )
        assert score.expected_f1 == pytest.approx(2 / (num_answers + 1))
    expected, fitted = mean_score(SCORES.values())
    assert expected == pytest.approx((2 / 17 + 2 / 17 + 2 / 13) / 3)  # 0.1297
    assert expected < fitted < 0.2


def test_list_of_all_answers_earns_the_expected_f1_on_every_test_question():
    questions = WORLD.questions("test")
    for index, question in enumerate(questions):
        relation = questions.facts(index)[0].relation
        listed = " ".join(WORLD.names[entity] for entity in WORLD.object_range(relation))
        score = f1_score(listed, question.golden_answers)
        assert score == pytest.approx(SCORES[relation.name].expected_f1)


def test_fitted_f1_of_the_tiny_world_is_what_the_best_list_earns():
    """Tried out: the m most frequent answers, for each m, scored as the reward scores."""
    for name, score in SCORES.items():
        golden = [
            question.golden_answers[0]
            for index, question in enumerate(WORLD.questions("test"))
            if WORLD.questions("test").facts(index)[0].relation.name == name
        ]
        words = sorted(set(golden), key=golden.count, reverse=True)
        lists = [" ".join(words[:length]) for length in range(1, len(words) + 1)]
        means = [sum(f1_score(text, g) for g in golden) / len(golden) for text in lists]
        assert score.fitted_f1 == pytest.approx(max(means))


def test_blind_scores_of_a_world_of_several_hops_are_refused():
    with pytest.raises(ValueError, match="such as the size 'tiny', got World"):
        blind_scores(load_world())
