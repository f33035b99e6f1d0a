"""Statistics of evaluations: by hand, by brute force, and against scipy and statsmodels."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS, WLS
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import normal_sample_size_one_tail

from zs_env.evaluation import paired
from zs_env.evaluation.repeats import majority_at_k, pass_at_k
from zs_env.evaluation.statistics import (
    Estimate,
    clustered_mean,
    macro_mean,
    mean_of,
    t_quantile,
)

SCORE = st.floats(0.0, 1.0)
DIFFERENCE = st.integers(-64, 64).map(lambda number: number / 64)


def test_mean_by_hand():
    # Mean 0.5, sum of squares 1, error sqrt(1 / (4 * 3)).
    assert mean_of([1.0, 0.0, 1.0, 0.0]) == Estimate(0.5, pytest.approx(math.sqrt(1 / 12)), 4)


def test_mean_of_one_question_has_no_error():
    assert mean_of([0.25]) == Estimate(0.25, None, 1)
    assert mean_of([0.25]).interval is None


def test_repeats_of_a_question_are_one_cluster():
    """Four equal repeats of two questions say as much as one of each, not as eight questions."""
    values, questions = [1.0] * 4 + [0.0] * 4, ["a"] * 4 + ["b"] * 4
    # Question means 1 and 0: sum of squares 1/2, error sqrt(1/2 / 2).
    assert clustered_mean(values, questions) == Estimate(0.5, pytest.approx(0.5), 2)


def test_question_counts_once_however_many_repeats_it_has():
    assert clustered_mean([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]).mean == 0.5


@settings(deadline=None)
@given(st.integers(2, 8), st.integers(1, 4), st.randoms(use_true_random=False))
def test_clustered_error_with_equal_repeats_equals_ols_of_statsmodels(questions, repeats, random):
    values = [random.random() for _ in range(questions * repeats)]
    groups = np.repeat(np.arange(questions), repeats)
    fit = OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    estimate = clustered_mean(values, groups.tolist())
    assert estimate.mean == pytest.approx(fit.params[0])
    assert estimate.standard_error == pytest.approx(fit.bse[0])


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_clustered_error_with_unequal_repeats_equals_wls_of_statsmodels(repeats, random):
    groups = np.repeat(np.arange(len(repeats)), repeats)
    values = [random.random() for _ in groups]
    weights = 1 / np.repeat(repeats, repeats)
    fit = WLS(values, np.ones(len(values)), weights=weights).fit(
        cov_type="cluster", cov_kwds={"groups": groups}
    )
    estimate = clustered_mean(values, groups.tolist())
    assert estimate.mean == pytest.approx(fit.params[0])
    assert estimate.standard_error == pytest.approx(fit.bse[0])


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 30, 124, 499, 3000])
@pytest.mark.parametrize("probability", [0.6, 0.975, 0.999])
def test_t_quantile_equals_scipy(probability, degrees):
    expected = stats.t.ppf(probability, degrees)
    assert t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-10)


def test_t_quantile_of_many_degrees_is_normal():
    assert t_quantile(0.975, 10_001) == pytest.approx(stats.norm.ppf(0.975))


def test_interval_by_hand():
    low, high = Estimate(0.5, 0.1, 5).interval  # t of 4 degrees is 2.776
    assert (low, high) == (pytest.approx(0.2224, abs=1e-4), pytest.approx(0.7776, abs=1e-4))


def test_interval_covers_the_mean_of_few_questions_as_often_as_it_says():
    random = np.random.default_rng(0)
    samples = random.normal(size=(4000, 4))
    intervals = (mean_of(sample.tolist()).interval for sample in samples)
    covered = sum(low <= 0.0 <= high for low, high in intervals)
    assert 0.94 < covered / 4000 < 0.96  # the normal interval would cover 85 %


def test_macro_mean_by_hand():
    estimates = [Estimate(0.2, 0.03, 10), Estimate(0.6, 0.04, 30)]
    assert macro_mean(estimates) == Estimate(pytest.approx(0.4), pytest.approx(0.025), 40)


def test_macro_mean_with_one_question_in_a_dataset_has_no_error():
    assert macro_mean([Estimate(0.2, 0.03, 10), Estimate(0.6, None, 1)]).standard_error is None


@pytest.mark.parametrize("mean", [mean_of, macro_mean, paired.bootstrap_means, paired.sign_flip])
def test_mean_of_nothing_is_refused(mean):
    with pytest.raises(ValueError, match="got none"):
        mean([])


@pytest.mark.parametrize("repeats", range(1, 7))
def test_pass_at_k_equals_brute_force(repeats):
    for right, k in itertools.product(range(repeats + 1), range(1, repeats + 1)):
        outcomes = [True] * right + [False] * (repeats - right)
        subsets = [any(subset) for subset in itertools.combinations(outcomes, k)]
        assert pass_at_k(repeats, right, k) == pytest.approx(sum(subsets) / len(subsets))


@given(st.integers(1, 50), st.data())
def test_pass_at_1_is_the_mean(repeats, data):
    right = data.draw(st.integers(0, repeats))
    assert pass_at_k(repeats, right, 1) == right / repeats


@pytest.mark.parametrize("arguments", [(4, 2, 0), (4, 2, 5), (4, 5, 1), (4, -1, 1)])
def test_pass_at_k_out_of_range_is_refused(arguments):
    with pytest.raises(ValueError, match="must be in"):
        pass_at_k(*arguments)


def majority_by_brute_force(answers, scores, k):
    total, subsets = 0.0, list(itertools.combinations(range(len(answers)), k))
    for subset in subsets:
        votes = Counter(answers[i] for i in subset if answers[i] is not None)
        if votes:
            best = [answer for answer in votes if votes[answer] == max(votes.values())]
            by_answer = {
                answer: np.mean([s for a, s in zip(answers, scores, strict=True) if a == answer])
                for answer in best
            }
            total += sum(by_answer.values()) / len(best)
    return total / len(subsets)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d", None]), SCORE), max_size=7, min_size=1),
    st.data(),
)
def test_majority_at_k_equals_brute_force(votes, data):
    answers, scores = zip(*votes, strict=True)
    k = data.draw(st.integers(1, len(answers)))
    expected = majority_by_brute_force(answers, scores, k)
    assert majority_at_k(answers, scores, k) == pytest.approx(expected)


def test_majority_at_k_by_hand():
    answers, scores = ["lima", "lima", "cusco", None], [1.0, 1.0, 0.0, 0.0]
    assert majority_at_k(answers, scores, 1) == 0.5
    # Pairs: ll 1, lc 1/2 twice, l- 1 twice, c- 0; of six.
    assert majority_at_k(answers, scores, 2) == pytest.approx(4 / 6)
    assert majority_at_k(answers, scores, 4) == 1.0
    assert majority_at_k([None, None], [0.0, 0.0], 2) == 0.0


def test_majority_at_k_of_many_repeats_is_exact():
    """A sum over subsets would need 6e17 of them."""
    answers, scores = ["right"] * 33 + ["wrong"] * 31, [1.0] * 33 + [0.0] * 31
    ways = stats.hypergeom(64, 33, 31)
    assert majority_at_k(answers, scores, 31) == pytest.approx(ways.sf(15))


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_equals_statsmodels_and_the_binomial_test_of_scipy(gained, lost):
    p = paired.mcnemar(gained, lost)
    assert p == pytest.approx(reference_mcnemar([[0, gained], [lost, 0]], exact=True).pvalue)
    if gained + lost:
        assert p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


def test_mcnemar_by_hand():
    assert paired.mcnemar(5, 1) == pytest.approx(2 * (1 + 6) / 64)
    assert paired.mcnemar(0, 0) == 1.0


@settings(deadline=None)
@given(st.integers(0, 8), st.integers(0, 8), st.integers(1, 5))
def test_sign_flip_of_zeros_and_ones_equals_mcnemar(gained, lost, equal):
    differences = [1.0] * gained + [-1.0] * lost + [0.0] * equal
    assert paired.sign_flip(differences) == pytest.approx(paired.mcnemar(gained, lost))


def test_sign_flip_by_hand():
    # Sums of +-1 +-2 +-3: 6 and -6 are as extreme as 6, of eight.
    assert paired.sign_flip([1.0, 2.0, 3.0]) == 2 / 8
    # 4, 6, and their negatives are as extreme as 1 - 2 - 3 = -4.
    assert paired.sign_flip([1.0, -2.0, -3.0]) == 4 / 8


@settings(deadline=None, max_examples=30)
@given(st.lists(DIFFERENCE, min_size=2, max_size=10))
def test_sign_flip_of_few_questions_equals_scipy(differences):
    test = stats.permutation_test(
        (np.array(differences),), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    # Scipy doubles the smaller tail, which is the same: the distribution is symmetric.
    assert paired.sign_flip(differences) == pytest.approx(test.pvalue)


def test_sign_flip_of_many_questions_is_near_the_t_test():
    differences = np.random.default_rng(1).normal(0.1, 1.0, size=400)
    expected = stats.ttest_1samp(differences, 0.0).pvalue
    assert 0.01 < expected < 0.9
    assert paired.sign_flip(differences) == pytest.approx(expected, abs=0.02)


def test_random_sign_flips_never_give_zero():
    assert paired.sign_flip([1.0] * 40) == 1 / 10_001


@settings(deadline=None, max_examples=20)
@given(st.lists(DIFFERENCE, min_size=1, max_size=20))
def test_swapping_the_sides_mirrors_the_comparison(differences):
    mirrored = [-difference for difference in differences]
    assert paired.sign_flip(mirrored) == paired.sign_flip(differences)
    low, high = paired.bootstrap_interval(paired.bootstrap_means(differences))
    assert paired.bootstrap_interval(paired.bootstrap_means(mirrored)) == (
        pytest.approx(-high), pytest.approx(-low)
    )  # fmt: skip


def test_bootstrap_interval_is_near_that_of_scipy():
    differences = np.random.default_rng(2).exponential(size=60)
    expected = stats.bootstrap(
        (differences,), np.mean, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    found = paired.bootstrap_interval(paired.bootstrap_means(differences))
    assert found == pytest.approx(tuple(expected), abs=0.02)


def test_bootstrap_means_follow_the_key():
    differences = [0.1, 0.5, -0.2]
    first = paired.bootstrap_means(differences, "nq")
    assert first.shape == (10_000,)
    assert (first == paired.bootstrap_means(differences, "nq")).all()
    assert (first != paired.bootstrap_means(differences, "musique")).any()


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_holm_equals_statsmodels(p_values):
    assert paired.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_by_hand():
    assert paired.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert paired.holm([]) == []


def test_questions_needed_equals_statsmodels():
    expected = normal_sample_size_one_tail(0.03, 0.8, 0.025, std_null=0.6)
    assert paired.questions_needed(0.03, 0.6) == math.ceil(expected)
    assert paired.questions_needed(-0.03, 0.6) == math.ceil(expected)


def test_questions_needed_by_hand():
    assert paired.questions_needed(0.5, 1.0) == 32  # (1.960 + 0.842)^2 * 4 = 31.4
    assert paired.questions_needed(0.0, 1.0) is None
    assert paired.questions_needed(0.5, 0.0) == 2
    with pytest.raises(ValueError, match="at least 0"):
        paired.questions_needed(0.5, -1.0)


def test_questions_needed_find_the_difference_as_often_as_they_say():
    count = paired.questions_needed(0.25, 1.0)
    samples = np.random.default_rng(4).normal(0.25, 1.0, size=(4000, count))
    found = stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.02)
