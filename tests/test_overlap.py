"""Overlap of two sets of questions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env import Question
from zs_env.evaluation.overlap import find_overlap
from zs_env.questions import QuestionSet
from zs_env.world import load_world

TRAIN = [
    "Who wrote the opera about the last king of Peru?",
    "When was the bridge over the river Thaya built?",
    "?!",
]


def question_set(texts):
    return QuestionSet(Question(str(number), text, ("x",)) for number, text in enumerate(texts))


def overlap(texts, others=TRAIN, **options):
    return find_overlap(question_set(texts), question_set(others), **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TRAIN[0], (1, 0)),
        ("who wrote opera about  last king of PERU", (1, 0)),  # articles, case, punctuation
        ("?!", (1, 0)),
        ("Who wrote the opera about the first king of Peru?", (0, 0)),  # 7 of 9 words: 0.78
        ("About the last king of Peru, who wrote the opera?", (0, 1)),  # another order: 1.0
        ("Who wrote the opera about the last great king of Peru?", (0, 1)),  # 8 of 9 words: 0.89
        ("Who wrote the opera about the last king?", (0, 0)),  # 6 of 8 words: 0.75
        ("Where is Lima?", (0, 0)),
    ],
)
def test_overlap_of_one_question(text, expected):
    found = overlap([text])
    assert (found.num_exact, found.num_near) == expected
    assert found.num_questions == 1 and found.share == sum(expected)


def test_overlap_examples_begin_with_the_least_alike():
    texts = [TRAIN[0], "About the last king of Peru, who wrote the opera?"]
    texts += ["When was the old bridge over the river Thaya built?", "Where is Lima?"]
    found = overlap(texts)
    assert [match.question.id for match in found.examples] == ["2", "1", "0"]
    first = found.examples[0]
    assert (first.other.text, first.likeness, first.exact) == (TRAIN[1], 7 / 8, False)
    assert overlap(texts, num_examples=1).examples == (first,)
    assert (found.num_exact, found.num_near, found.share) == (1, 2, 0.75)


def test_overlap_of_the_embedded_world_train_and_test_share_no_question():
    world = load_world(0, "tiny")
    found = find_overlap(world.questions("test"), world.questions("train"), 1.0)
    assert (found.num_exact, found.num_near) == (0, 0)


@pytest.mark.parametrize("least", [0, 1.1])
def test_overlap_of_impossible_likeness_is_refused(least):
    with pytest.raises(ValueError, match="`least_likeness` must be"):
        overlap(["Who?"], least_likeness=least)


def is_near(words, others, least):
    return len(words & others) / len(words | others) >= least


@given(
    st.lists(st.lists(st.sampled_from("bcdefgh"), min_size=1, max_size=7), min_size=1, max_size=8),
    st.lists(st.lists(st.sampled_from("bcdefgh"), min_size=1, max_size=7), min_size=1, max_size=8),
    st.sampled_from([0.1, 0.3, 0.5, 2 / 3, 0.75, 0.8, 0.9, 1.0]),
)
def test_overlap_finds_what_a_comparison_of_all_pairs_finds(first, second, least):
    found = overlap(
        [" ".join(w) for w in first], [" ".join(w) for w in second], least_likeness=least
    )
    exact = [words in second for words in first]
    near = [any(is_near(set(words), set(other), least) for other in second) for words in first]
    assert found.num_exact == sum(exact)
    assert found.num_near == sum(n and not e for n, e in zip(near, exact, strict=True))
