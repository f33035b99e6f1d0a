"""Results of a run, worked out by hand."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation_records import make_failure, make_record, make_records, make_search
from zs_env.errors import RecordError
from zs_env.evaluation.results import results_of, trained_on
from zs_env.evaluation.statistics import Estimate
from zs_env.evaluation.summary import Prices, golden_answer_found, summarise


def near(mean, error, questions):
    return Estimate(pytest.approx(mean), error and pytest.approx(error), questions)


def test_scores_are_means_over_questions_with_clustered_errors():
    records = [
        make_record("a", score, repeat=repeat) for repeat, score in enumerate([1.0, 1.0, 0.0, 0.0])
    ] + [make_record("b", 1.0, repeat=repeat) for repeat in range(4)]
    summary = summarise(records)
    # Question means 0.5 and 1: sum of squares 1/8, error sqrt(1/8 / 2).
    assert summary.scores == {"exact_match": near(0.75, 0.25, 2)}
    assert (summary.questions, summary.records, summary.repeats) == (2, 8, 4)


def test_failed_records_are_counted_and_left_out_of_every_mean():
    records = [*make_records([1.0, 0.0], turns=3), make_failure("z", turns=9, invalid_turns=9)]
    summary = summarise(records)
    assert summary.scores == {"exact_match": near(0.5, 0.5, 2)}
    assert summary.usage["turns"] == near(3.0, 0.0, 2)
    assert summary.invalid_turns == 0.0
    assert (summary.questions, summary.records, summary.failures) == (3, 3, 1)
    assert summary.failed_share == pytest.approx(1 / 3)


def test_run_that_failed_throughout_has_no_scores():
    [row] = results_of([make_failure("a"), make_failure("b")]).rows
    assert (row.summary.scores, row.summary.usage, row.summary.failed_share) == ({}, {}, 1.0)
    assert row.summary.invalid_turns is None and row.summary.pass_at == {}


def test_records_without_a_score_are_counted_and_not_scored_as_wrong():
    records = [*make_records([1.0, 1.0]), make_record("z", None)]
    summary = summarise(records)
    assert summary.scores == {"exact_match": near(1.0, 0.0, 2)}
    assert summary.unscored == {"exact_match": 1}


def test_usage_by_hand():
    counts = {"turns": 4, "invalid_turns": 1, "prompt_tokens": 100, "completion_tokens": 30}
    first = make_record("a", 1.0, searches=(make_search("x"), make_search("in Lima")), **counts)
    second = make_record("b", 0.0, turns=1, invalid_turns=1, prompt_tokens=300)
    summary = summarise([first, second])
    assert summary.usage["searches"] == near(1.0, 1.0, 2)
    assert summary.usage["turns"] == near(2.5, 1.5, 2)
    assert summary.usage["prompt_tokens"] == near(200.0, 100.0, 2)
    assert summary.usage["completion_tokens"] == near(15.0, 15.0, 2)
    assert summary.usage["golden_found"] == near(0.5, 0.5, 2)
    assert summary.invalid_turns == 2 / 5


def test_golden_answer_is_found_as_whole_words_in_one_document():
    def found(*texts):
        return golden_answer_found(
            make_record(golden_answers=("New York",), searches=(make_search(*texts),))
        )

    assert found("nothing", "in new york!")
    assert not found("New Yorkers")
    assert not found("the New", "York")
    assert not golden_answer_found(make_record())


def test_pass_and_majority_at_k_of_repeats():
    right = [make_record("a", 1.0, repeat=repeat) for repeat in (0, 1)]
    wrong = [make_record("a", 0.0, repeat=2)]
    other = [make_record("b", 0.0, repeat=repeat) for repeat in range(3)]
    summary = summarise([*right, *wrong, *other])
    # Two of three right: pass@2 is 1, majority@2 is (1 + 1/2 + 1/2) / 3.
    assert summary.pass_at == {1: near(1 / 3, 1 / 3, 2), 2: near(0.5, 0.5, 2), 3: near(0.5, 0.5, 2)}
    assert summary.majority_at == {
        1: near(1 / 3, 1 / 3, 2), 2: near(1 / 3, 1 / 3, 2), 3: near(0.5, 0.5, 2)
    }  # fmt: skip


def test_one_repeat_has_no_pass_at_k():
    summary = summarise(make_records([1.0, 0.0]))
    assert (summary.pass_at, summary.majority_at) == ({}, {})


def test_question_with_too_few_repeats_does_not_count_for_pass_at_k():
    records = [make_record("a", 1.0), make_record("a", 0.0, repeat=1), make_record("b", 1.0)]
    summary = summarise([*records, make_failure("b", repeat=1)])
    assert summary.pass_at == {1: near(0.75, 0.25, 2), 2: near(1.0, None, 1)}


@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=2), min_size=1, max_size=6)
)
def test_pass_at_1_and_majority_at_1_are_the_mean(rows):
    summary = summarise(
        make_record(f"q{question}", score, repeat=repeat)
        for question, row in enumerate(rows)
        for repeat, score in enumerate(row)
    )
    mean = summary.scores["exact_match"].mean
    assert summary.pass_at[1].mean == pytest.approx(mean)
    assert summary.majority_at[1].mean == pytest.approx(mean)


def test_cost_counts_failed_records():
    records = [
        make_record("a", prompt_tokens=2_000_000, completion_tokens=500_000),
        make_failure("b", prompt_tokens=1_000_000, searches=(make_search(), make_search())),
    ]
    assert summarise(records, Prices(prompt=2.0, completion=8.0, search=0.01)).cost == (
        pytest.approx(6.0 + 4.0 + 0.02)
    )
    assert summarise(records).cost is None


@pytest.mark.parametrize("price", [{"prompt": -1.0}, {"completion": math.nan}, {"search": -0.1}])
def test_negative_price_is_refused(price):
    with pytest.raises(ValueError, match=f"price `{next(iter(price))}` must be at least 0"):
        Prices(**price)


DATASETS = {"nq": [1.0, 0.0], "hotpotqa,sample=2": [1.0, 1.0], "musique": [0.0, 0.0, 0.0, 1.0]}


def all_datasets(engine="bm25"):
    return [
        record
        for dataset, scores in DATASETS.items()
        for record in make_records(scores, dataset=dataset, engine=engine)
    ]


def test_macro_means_by_hand():
    macros = {macro.domain: macro for macro in results_of(all_datasets()).macros}
    means = {domain: macro.scores["exact_match"] for domain, macro in macros.items()}
    # Means 0.5, 1, 0.25; errors 0.5, 0, 0.25.
    assert means == {
        "in domain": near(0.75, 0.25, 4),
        "out of domain": near(0.25, 0.25, 4),
        "all": near(1.75 / 3, math.hypot(0.5, 0.25) / 3, 8),
    }
    assert macros["in domain"].datasets == ("hotpotqa,sample=2", "nq")


def test_macro_means_are_separate_for_each_engine():
    records = all_datasets() + make_records([1.0], engine="google")
    assert {macro.engine for macro in results_of(records).macros} == {"bm25"}
    assert len(results_of(records).rows) == 4


def test_macro_mean_lacks_a_metric_that_a_dataset_lacks():
    """Else it would be the mean of fewer datasets than the one beside it."""
    records = all_datasets() + make_records([None], dataset="popqa")
    scores = {macro.domain: macro.scores for macro in results_of(records).macros}
    assert scores["all"] == scores["out of domain"] == {}
    assert "exact_match" in scores["in domain"]


@pytest.mark.parametrize("in_domain", [
    lambda dataset: dataset.startswith("musique"),
    {"nq": False, "hotpotqa": False, "musique": True},
    {"nq": False, "hotpotqa,sample=2": False, "hotpotqa": True, "musique": True},
])  # fmt: skip
def test_domain_is_what_the_caller_says(in_domain):
    macros = {m.domain: m.datasets for m in results_of(all_datasets(), in_domain=in_domain).macros}
    assert macros["in domain"] == ("musique",)


def test_dataset_without_a_domain_is_refused():
    with pytest.raises(RecordError, match="whether 'musique' is in domain, but only has 'nq'"):
        results_of(all_datasets(), in_domain={"nq": True, "hotpotqa": True})


def test_default_domain_is_that_of_the_paper():
    assert trained_on("nq") and trained_on("hotpotqa,sample=500")
    assert not trained_on("nq2") and not trained_on("world,world_seed=1")


def mean_of_exact_match(row):
    return row.summary.scores["exact_match"].mean


def test_breakdowns_by_hand():
    noisy = make_search(noisy=True)
    failed = make_search(noisy=True, failure="too late")
    records = [
        make_record("a", 1.0, metadata={"hops": 2}),
        make_record("b", 0.0, metadata={"hops": 10}, searches=(noisy, make_search(), failed)),
        make_record("c", 1.0, metadata={"hops": 2}, searches=(noisy,) * 5),
        make_record("d", 0.0),
    ]
    parts = {
        name: [(row.part, row.summary.questions, mean_of_exact_match(row)) for row in rows]
        for name, rows in results_of(records).breakdowns.items()
    }
    assert parts == {
        "hops": [("2", 2, 1.0), ("10", 1, 0.0)],
        "noisy searches": [("0", 2, 0.5), ("1", 1, 0.0), ("3 or more", 1, 1.0)],
    }


def test_breakdown_with_a_single_part_is_left_out():
    assert results_of(make_records([1.0, 0.0], metadata={"hops": [1]})).breakdowns == {}


def test_two_records_with_one_key_are_refused():
    with pytest.raises(RecordError, match="two records have the key"):
        results_of([make_record(), make_record()])


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False))
def test_order_of_records_and_of_scores_decides_nothing(order):
    values = random.Random(0)
    records = [
        make_record(
            f"q{question}", repeat=repeat, dataset=dataset, seconds=values.random(),
            scores={"judge": values.random(), "f1": values.random(), "exact_match": 1.0},
            metadata={"hops": question % 3},
        )
        for dataset in ("nq", "musique")
        for question in range(5)
        for repeat in range(2)
    ]  # fmt: skip
    expected = results_of(records)
    shuffled = [
        replace(record, scores=dict(order.sample(list(record.scores.items()), 3)))
        for record in order.sample(records, len(records))
    ]
    assert results_of(shuffled) == expected
    assert expected.metrics == ("f1", "exact_match", "judge")
