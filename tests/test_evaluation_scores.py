"""Metrics of answers: by name, by import, and SQuAD's against values worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env import rewards
from zs_env.evaluation.record import Record
from zs_env.evaluation.scores import METRICS, AnswerMetric, Metric, make_metric, score_records
from zs_env.evaluation.squad import squad_exact_match, squad_f1


def record(answer="Lima", golden=("Lima",), **values):
    defaults = {"scores": {}, "termination": "answered"}
    key = {"dataset": "nq", "engine": "bm25", "question_id": "q", "repeat": 0}
    return Record(
        question="Where?", golden_answers=golden, answer=answer, **{**key, **defaults, **values}
    )


@pytest.mark.parametrize(
    ("prediction", "golden", "f1", "exact"),
    [
        ("the LIMA!", ["Lima"], 1.0, 1.0),
        ("Lima Peru", ["Lima"], 2 / 3, 0.0),  # precision 1/2, recall 1
        ("lima lima", ["lima"], 2 / 3, 0.0),  # a word counts as often as it is golden
        ("Cusco", ["Lima", "Cusco city"], 2 / 3, 0.0),  # the best golden answer counts
        ("U.S.A.", ["USA"], 1.0, 1.0),
        ("twenty-one", ["twenty one"], 0.0, 0.0),  # a hyphen goes without leaving a space
        ("a an the Lima", ["Lima"], 1.0, 1.0),
        ("nobody knows", ["no"], 0.0, 0.0),
        # No golden answer with words: the script takes the question for one without an answer.
        ("", ["The"], 1.0, 1.0),
        ("a", ["The"], 1.0, 1.0),
        ("anything", ["The"], 0.0, 0.0),
        # Empty golden answers beside others are dropped, and do not match the empty prediction.
        ("", ["The", "Lima"], 0.0, 0.0),
        ("?!", ["Lima"], 0.0, 0.0),
    ],
)
def test_squad_scores_by_hand(prediction, golden, f1, exact):
    assert squad_f1(prediction, golden) == pytest.approx(f1)
    assert squad_exact_match(prediction, golden) == exact


WORDED = st.lists(st.sampled_from(["the", "Lima!", "Peru", "x-y", "an", "é"]), max_size=5).map(
    lambda words: " ".join([*words, "city"])
)


@given(WORDED, st.lists(WORDED, min_size=1, max_size=3))
def test_squad_scores_where_normalisation_leaves_words_equal_ours(prediction, golden):
    assert squad_f1(prediction, golden) == rewards.f1_score(prediction, golden)
    assert squad_exact_match(prediction, golden) == rewards.exact_match(prediction, golden)


def test_metrics_by_name_score_as_their_functions():
    records = [record("the Lima Peru", ("Lima",)), record("The", ("The",)), record(None)]
    scored = score_records(records, METRICS)
    assert [dict(each.scores) for each in scored] == [
        {
            "f1": pytest.approx(2 / 3),
            "exact_match": 0.0,
            "substring_match": 1.0,
            "squad_f1": pytest.approx(2 / 3),
            "squad_exact_match": 0.0,
        },
        # The one departure of ours shows only where words are missing; here both agree.
        dict.fromkeys(METRICS, 1.0),
        dict.fromkeys(METRICS, 0.0),
    ]


def test_squad_and_ours_differ_on_a_text_without_words():
    [scored] = score_records([record("a", ("The",))], ["exact_match", "squad_exact_match"])
    assert scored.scores == {"exact_match": 0.0, "squad_exact_match": 1.0}


def length_ratio(prediction, golden_answers):
    return len(prediction) / len(golden_answers[0])


def broken(prediction, golden_answers):
    return math.nan


class Judge:
    """Scores every second record, and must be asked once for all of them."""

    name = "judge"

    def __init__(self, right=1.0):
        self.right = right
        self.calls = 0

    def score(self, records):
        self.calls += 1
        return [self.right if number % 2 == 0 else None for number in range(len(records))]


class Short(Judge):
    def score(self, records):
        return []


def test_metric_by_import_is_named_as_it_is_written():
    name = f"{__name__}:length_ratio"
    [scored] = score_records([record("Limas", ("Lima",))], [name])
    assert scored.scores == {name: 1.25}


def test_metric_class_by_import_takes_options():
    metric = make_metric({"name": f"{__name__}:Judge", "right": 0.5})
    assert isinstance(metric, Judge) and metric.right == 0.5


def test_metric_object_scores_all_records_in_one_call():
    judge = Judge()
    records = [record(question_id=name, scores={"judge": 9.0, "f1": 0.5}) for name in "abc"]
    scored = score_records(records, [judge])
    assert judge.calls == 1
    # A record without a new score loses the old one, which another judge gave.
    assert [dict(each.scores) for each in scored] == [
        {"f1": 0.5, "judge": 1.0}, {"f1": 0.5}, {"f1": 0.5, "judge": 1.0}
    ]  # fmt: skip


def test_failed_record_is_not_scored():
    failed = record(None, failure="no answer of the server")
    assert score_records([failed, record()], ["f1"]) == [failed, record(scores={"f1": 1.0})]


class NoMetric:
    pass


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        ("exact", ValueError, "did you mean 'exact_match'"),
        ("f1,depth=3", TypeError, "no options"),
        (f"{__name__}:missing", ValueError, "no metric"),
        (f"{__name__}:record", ValueError, "must return a finite number"),
        (f"{__name__}:broken", ValueError, "must return a finite number, got nan"),
        ({"name": f"{__name__}:Judge", "wrong": 1}, TypeError, "'wrong' is unknown"),
        (f"{__name__}:Short", ValueError, "one score for each record, got 0 for 1"),
        (f"{__name__}:NoMetric", TypeError, "not a Metric"),
    ],
)
def test_wrong_metric_is_refused(metric, error, message):
    with pytest.raises(error, match=message):
        score_records([record()], [metric])


def test_answer_metric_is_a_metric():
    assert isinstance(AnswerMetric("f1", rewards.f1_score), Metric)
    assert not isinstance(rewards.f1_score, Metric)
