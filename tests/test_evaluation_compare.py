"""Paired comparison of runs: what is refused, and the numbers, by hand and against scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.evaluation_records import make_failure, make_record, make_records
from zs_env.errors import RecordError
from zs_env.evaluation.alike import Run
from zs_env.evaluation.compare import MACRO, compare
from zs_env.evaluation.paired import holm, mcnemar


def scores(*rows):
    """A run of each row of exact matches, by name of a letter."""
    return [Run(name, make_records(row)) for name, row in zip("abc", rows, strict=False)]


def only(comparison):
    [difference] = comparison.differences
    return difference


def test_difference_of_exact_matches_by_hand():
    found = only(compare(scores([1, 0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 1, 1, 1])))
    paired = found.paired
    assert (found.first, found.second, found.metric) == ("a", "b", "exact_match")
    assert (paired.first_mean, paired.second_mean) == (pytest.approx(2 / 7), pytest.approx(6 / 7))
    # Differences -1, five times 1, 0: mean 4/7, sum of squares 6 - 16/7.
    assert paired.difference.mean == pytest.approx(4 / 7)
    assert paired.difference.standard_error == pytest.approx(((6 - 16 / 7) / 42) ** 0.5)
    assert paired.test == "McNemar" and paired.p_value == pytest.approx(14 / 64)
    # ((1.960 + 0.842) * 0.787 / 0.571)^2 = 14.9
    assert paired.questions_needed == 15
    low, high = paired.interval
    assert -0.2 < low < 4 / 7 < high <= 1.0
    assert (found.pairs, found.failed, found.unscored) == (7, 0, 0)


def test_repeats_are_averaged_within_questions_before_the_sign_flip():
    """Four equal repeats must not make eight independent wins of two questions."""
    first = [make_record(q, 0.0, repeat=r) for q in "xyz" for r in range(4)]
    second = [make_record(q, 1.0, repeat=r) for q in "xyz" for r in range(4)]
    found = only(compare([Run("a", first), Run("b", second)]))
    assert (found.pairs, found.paired.difference.questions) == (12, 3)
    assert (found.paired.test, found.paired.p_value) == ("sign flip", 2 / 8)


def test_interval_and_p_value_agree_with_the_paired_t_test():
    random = np.random.default_rng(5)
    first = random.random(300).round(3)
    second = (first + random.normal(0.02, 0.2, 300)).round(3)
    paired = only(compare(scores(first.tolist(), second.tolist()))).paired
    test = stats.ttest_rel(second, first)
    interval = test.confidence_interval()
    assert paired.p_value == pytest.approx(test.pvalue, abs=0.015)
    assert paired.interval == pytest.approx((interval.low, interval.high), abs=0.002)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 1.0])] * 2), min_size=2, max_size=12))
def test_swapped_runs_give_the_mirrored_difference(rows):
    forward, backward = (
        only(compare(scores(*sides))).paired
        for sides in (list(zip(*rows, strict=True)), list(zip(*rows, strict=True))[::-1])
    )
    assert backward.difference.mean == -forward.difference.mean
    assert backward.p_value == forward.p_value
    assert backward.interval == pytest.approx([-forward.interval[1], -forward.interval[0]])
    assert backward.questions_needed == forward.questions_needed


@settings(deadline=None, max_examples=15)
@given(st.randoms(use_true_random=False))
def test_order_of_records_decides_nothing(order):
    runs = scores([0.1, 0.5, 0.9, 0.3], [0.2, 0.8, 0.7, 0.6])
    shuffled = [replace(run, records=order.sample(run.records, 4)) for run in runs]
    assert compare(shuffled) == compare(runs)


def test_pairs_with_a_failed_side_are_left_out_and_counted():
    first = [*make_records([0, 1, 1]), make_failure("y"), make_record("z", 1.0)]
    second = [*make_records([1, 1, 1]), make_record("y", 1.0), make_failure("z")]
    found = only(compare([Run("a", first), Run("b", second)]))
    assert (found.pairs, found.failed, found.paired.difference.mean) == (3, 2, pytest.approx(1 / 3))


def test_pairs_without_a_score_are_left_out_and_counted():
    first, second = make_records([0, 1, None]), make_records([1, None, 1])
    found = only(compare([Run("a", first), Run("b", second)]))
    assert (found.pairs, found.failed, found.unscored) == (1, 0, 2)
    assert found.paired.interval is None and found.paired.questions_needed is None


def test_macro_difference_counts_each_dataset_once():
    def run(name, nq, musique):
        return Run(name, make_records(nq, dataset="nq") + make_records(musique, dataset="musique"))

    runs = [run("a", [0] * 12, [1, 1, 0]), run("b", [1] * 6 + [0] * 6, [0, 1, 0])]
    found = {one.dataset: one for one in compare(runs).differences}
    assert list(found) == ["musique", "nq", MACRO]
    macro = found[MACRO].paired
    assert macro.difference.mean == pytest.approx((0.5 - 1 / 3) / 2)
    errors = [found[name].paired.difference.standard_error for name in ("nq", "musique")]
    assert macro.difference.standard_error == pytest.approx(np.hypot(*errors) / 2)
    assert (macro.first_mean, macro.second_mean) == (pytest.approx(1 / 3), pytest.approx(5 / 12))
    # Six questions add 1/24 each, one takes 1/6: of 128 assignments of signs 72 are as extreme.
    flips = np.array([[bits >> i & 1 for i in range(7)] for bits in range(128)]) * 2 - 1
    sums = np.abs(flips @ np.array([1.0] * 6 + [-4.0]))
    assert macro.p_value == pytest.approx(np.mean(sums >= 2.0))
    assert macro.interval[0] < 1 / 12 < macro.interval[1]


def test_macro_difference_without_pairs_of_one_dataset_has_no_numbers():
    runs = [Run(name, make_records([0, 1]) + [make_failure("z", dataset="popqa")]) for name in "ab"]
    found = {one.dataset: one for one in compare(runs).differences}
    assert found["nq"].paired and found["popqa"].paired is None and found[MACRO].paired is None
    assert (found[MACRO].pairs, found[MACRO].failed) == (2, 1)


def test_several_runs_are_compared_with_the_first_and_corrected():
    runs = scores([0] * 8, [1] * 8, [1] * 5 + [0] * 3)
    differences = compare(runs).differences
    assert [(one.first, one.second) for one in differences] == [("a", "b"), ("a", "c")]
    raw = [mcnemar(8, 0), mcnemar(5, 0)]
    assert [one.paired.p_value for one in differences] == pytest.approx(raw)
    assert [one.p_holm for one in differences] == pytest.approx(holm(raw))
    assert differences[0].p_holm == pytest.approx(2 * raw[0])


def test_two_runs_need_no_correction():
    found = only(compare(scores([0] * 8, [1] * 8)))
    assert found.p_holm == found.paired.p_value


def test_each_metric_is_compared():
    def both(exact, f1):
        return [
            replace(record, scores={"exact_match": exact, "f1": f1})
            for record in make_records([0, 0])
        ]

    comparison = compare([Run("a", both(0.0, 0.5)), Run("b", both(1.0, 0.75))])
    assert comparison.metrics == ("f1", "exact_match")
    assert [one.paired.difference.mean for one in comparison.differences] == [0.25, 1.0]


BASE = make_records([0, 1])


@pytest.mark.parametrize(
    ("records", "options", "message"),
    [
        (BASE[:1], {}, "only 'a' has 1 records: 'nq' on 'bm25' question 'q001' repeat 0"),
        (make_records([0, 1, 1]), {}, "only 'b' has 1 records"),
        (make_records([0, 1], repeat=1), {}, "only 'a' has 2 records"),
        (make_records([0, 1], dataset="popqa"), {}, "'popqa' on 'bm25'"),
        (make_records([0, 1], engine="google"), {}, "'nq' on 'google'"),
        (make_records([0, 1], golden_answers=("X",)), {}, "another golden_answers in 2 records"),
        (make_records([0, 1], question="Who?"), {}, "another question in 2 records"),
        (make_records([0, 1], noise_probability=0.5), {}, "another noise_probability"),
        (BASE, {"max_turns": 9}, "option max_turns is 5 in 'a' and 9 in 'b'"),
        (BASE, {"max_turns": 5, "top_k": 3}, "option top_k is missing in 'a' and 3 in 'b'"),
    ],
)
def test_runs_that_were_not_asked_alike_are_refused(records, options, message):
    runs = [Run("a", BASE, {"max_turns": 5}), Run("b", records, {"max_turns": 5, **options})]
    with pytest.raises(RecordError, match="not asked alike") as caught:
        compare(runs)
    assert message in str(caught.value)


def test_all_that_was_not_asked_alike_is_listed_and_kept_short():
    others = make_records([0] * 50, dataset="popqa")
    with pytest.raises(RecordError) as caught:
        compare([Run("a", BASE, {"top_k": 3}), Run("b", others, {"top_k": 5})])
    message = str(caught.value)
    assert "option top_k" in message and "only 'a'" in message and "and 45 more" in message
    assert len(message) < 1000


def test_options_that_were_written_and_read_again_are_alike():
    options = {"rules": {"top_k": 5, "stop": ("a", "b")}}
    again = {"rules": {"stop": ["a", "b"], "top_k": 5}}
    assert compare([Run("a", BASE, options), Run("b", BASE, again)]).differences


def test_engines_may_differ_if_the_caller_says_so():
    noisy = make_records([1, 1], engine="world", noise_probability=0.5)
    runs = [Run("a", BASE, {"engine": "bm25"}), Run("b", noisy, {"engine": "world"})]
    with pytest.raises(RecordError, match="option engine is"):
        compare(runs)
    found = only(compare(runs, any_engine=True))
    assert (found.engine, found.paired.difference.mean) == ("bm25 / world", 0.5)


def test_several_engines_of_a_run_cannot_be_paired_with_any_engine():
    both = BASE + make_records([1, 1], engine="google")
    with pytest.raises(RecordError, match="asked the same on 'bm25' and 'google'"):
        compare([Run("a", both), Run("b", both)], any_engine=True)


def test_engines_are_compared_apart():
    both = BASE + make_records([1, 1], engine="google")
    assert [d.engine for d in compare([Run("a", both), Run("b", both)]).differences] == [
        "bm25", "google"
    ]  # fmt: skip


@pytest.mark.parametrize("names", ["", "a", "aa"])
def test_too_few_runs_or_equal_names_are_refused(names):
    with pytest.raises(ValueError, match="two runs or more with different names"):
        compare([Run(name, BASE) for name in names])


def test_runs_without_records_and_with_equal_keys_are_refused():
    with pytest.raises(RecordError, match="no records"):
        compare([Run("a", []), Run("b", [])])
    with pytest.raises(RecordError, match="two records have the key"):
        compare([Run("a", BASE), Run("b", BASE + BASE)])
