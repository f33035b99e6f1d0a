"""Scores of answers, against values worked out by hand and a restatement of SQuAD."""

from __future__ import annotations

import collections
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env import rewards


@pytest.mark.parametrize(
    ("prediction", "golden", "f1", "exact", "substring"),
    [
        ("Lima", ["Lima"], 1.0, 1.0, 1.0),
        ("the LIMA!", ["Lima"], 1.0, 1.0, 1.0),
        ("Lima Peru", ["Lima"], 2 / 3, 0.0, 1.0),  # precision 1/2, recall 1
        ("Lima", ["Lima Peru"], 2 / 3, 0.0, 0.0),
        ("Lima in Peru", ["Peru in Lima"], 1.0, 0.0, 0.0),
        ("lima lima", ["lima"], 2 / 3, 0.0, 1.0),  # a word counts as often as it is golden
        ("Cusco", ["Lima", "Cusco city"], 2 / 3, 0.0, 0.0),  # the best golden answer counts
        ("", ["Lima"], 0.0, 0.0, 0.0),
        (None, ["Lima"], 0.0, 0.0, 0.0),
        ("Lima", "Lima", 1.0, 1.0, 1.0),  # one string is one answer, not its letters
        # "no" does not match "nobody knows", and "The" does not match everything.
        ("nobody knows", ["no"], 0.0, 0.0, 0.0),
        ("anything", ["The"], 0.0, 0.0, 0.0),
        ("", ["The"], 0.0, 0.0, 0.0),
        ("a", ["The"], 0.0, 0.0, 0.0),
        ("the", ["The"], 1.0, 1.0, 1.0),
        ("?!", ["?!"], 1.0, 1.0, 1.0),
        ("...", ["?!"], 0.0, 0.0, 0.0),
        ("é", ["E"], 0.0, 0.0, 0.0),
        ("\ud800", ["\ud800"], 1.0, 1.0, 1.0),
    ],
)
def test_scores_by_hand(prediction, golden, f1, exact, substring):
    assert rewards.f1_score(prediction, golden) == pytest.approx(f1)
    assert rewards.exact_match(prediction, golden) == exact
    assert rewards.substring_match(prediction, golden) == substring
    scores = {"f1": pytest.approx(f1), "exact_match": exact, "substring_match": substring}
    assert rewards.all_scores(prediction, golden) == scores


def test_normalize_answer_follows_squad():
    assert rewards.normalize_answer("  The  Who's a-Team, an END! ") == "whos ateam end"


@pytest.mark.parametrize("score", rewards.REWARDS.values())
def test_scores_without_golden_answers_are_refused(score):
    with pytest.raises(ValueError, match="at least one answer"):
        score("Lima", [])


def squad_normalize(text):
    text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(prediction, golden):
    found, gold = squad_normalize(prediction).split(), squad_normalize(golden).split()
    same = sum((collections.Counter(found) & collections.Counter(gold)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(found), same / len(gold)
    return 2 * precision * recall / (precision + recall)


WORDS = st.lists(
    st.sampled_from(
        ["the", "a", "An", "lima", "Lima!", "é", "İ", "ß", "漢字", "\u2028", "x-y", "🙂"]
    )
    | st.text(max_size=4),
    max_size=6,
).map(" ".join)


@given(WORDS, st.lists(WORDS, min_size=1, max_size=3))
def test_f1_any_unicode_equals_the_squad_definition(prediction, golden):
    texts = [prediction, *golden]
    if all(squad_normalize(text) for text in texts):
        expected = max(squad_f1(prediction, answer) for answer in golden)
        assert rewards.f1_score(prediction, golden) == pytest.approx(expected)
        exact = any(squad_normalize(prediction) == squad_normalize(g) for g in golden)
        assert rewards.exact_match(prediction, golden) == float(exact)


@given(WORDS, st.lists(WORDS, min_size=1, max_size=3))
def test_scores_any_unicode_are_ordered_and_bounded(prediction, golden):
    scores = rewards.all_scores(prediction, golden)
    assert 0.0 <= scores["exact_match"] <= scores["substring_match"] <= 1.0
    assert scores["exact_match"] <= scores["f1"] <= 1.0


@given(WORDS, WORDS, WORDS, st.lists(WORDS, min_size=1, max_size=3))
def test_may_contain_is_true_of_any_text_around_a_match(before, text, after, golden):
    if rewards.substring_match(text, golden):
        assert rewards.may_contain(f"{before}\n{text} {after}", golden)


@pytest.mark.parametrize(
    ("texts", "golden", "query", "expected"),
    [
        (["It is a town.", "See LIMA!"], ("Lima",), "capital of Peru", True),
        (["Limassol"], ("Lima",), "capital of Peru", False),
        (["New", "York"], ("New York",), "", False),  # words of two texts
        ([], ("Lima",), "", False),
        (["Lima"], ("x", "lima"), "", True),
        (["Lima"], ("Lima",), "where is the Lima?", None),  # the query names it
        (["Lima"], ("Lima",), "where is Limassol", True),
        (["Yes, no."], ("Yes",), "", None),
        (["no"], ("no.", "No"), "", None),
        (["a"], (), "", None),
        (["a"], ("", "?!"), "", None),
    ],
)
def test_golden_answer_occurs_or_that_says_nothing(texts, golden, query, expected):
    assert rewards.golden_answer_in(texts, golden, query) is expected


def test_may_contain_sees_through_punctuation_and_articles_and_rules_out():
    assert rewards.may_contain("x rise of the ro-bots.", ["The rise of robots"])
    assert not rewards.may_contain("rise of the cyborgs", ["rise of robots", "Lima"])
    assert rewards.may_contain("x ?!", ["?!"])


def test_check_reward_unknown_name_is_refused():
    with pytest.raises(ValueError, match="f1, exact_match, substring_match"):
        rewards.check_reward("bleu")
    with pytest.raises(TypeError, match="callable"):
        rewards.check_reward(3)
