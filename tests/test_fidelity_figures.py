"""Figures of fidelity, computed by hand."""

from __future__ import annotations

import pytest

from zs_env import Document
from zs_env.evaluation.share import wilson
from zs_env.evaluation.statistics import t_quantile
from zs_env.evaluation.summary import Prices
from zs_env.simulation.fidelity import wording
from zs_env.simulation.fidelity.asked import AskedSearch, Cost
from zs_env.simulation.fidelity.costs import cost_figures
from zs_env.simulation.fidelity.estimate import Figure, mean_figure, mixed, share_of
from zs_env.simulation.fidelity.figures import (
    Column,
    Setting,
    failed_figures,
    form_figures,
    noise_figures,
    noisy_figures,
    seed_figures,
    useful_figures,
    wording_figures,
    words_of,
)
from zs_env.simulation.fidelity.findings import Finding, golden_answer_in
from zs_env.simulation.fidelity.queries import HeldOutQuery
from zs_env.simulation.pair import EARLIER, FINAL, UNKNOWN


def query(number=0, golden=("Lima",), text="capital of Peru", unseen=None):
    return HeldOutQuery(text, f"Question {number}?", golden, f"q{number}", unseen=unseen)


def searched(*texts, number=0, cost=None, **values):
    documents = tuple(t if isinstance(t, Document) else Document(t) for t in texts)
    return AskedSearch(query(number, **values), documents, cost)


def setting(queries, hops, **values):
    return Setting(queries, hops, **{"top_k": 2, "words": (1, 6), **values})


def value(figure):
    return figure if figure is None else round(figure.value, 6)


def values(figures):
    return {name: value(figure) for name, figure in figures.items()}


def test_share_of_independent_searches_has_wilsons_interval():
    """8 of 10: the unbiased variance of the mean is 0.16/9, so n = 0.16 / (0.16/9) = 9."""
    found = share_of([1.0] * 8 + [0.0] * 2, range(10))
    assert found[::3] == (0.8, 10)
    assert (found.low, found.high) == pytest.approx(wilson(0.8, 9))


def test_wilson_is_that_of_the_text_book():
    """Brown, Cai and DasGupta's centre and spread, for 1 of 2: 0.5 ± 0.4055."""
    assert wilson(0.5, 2) == pytest.approx((0.0945, 0.9055), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(0.3, 0) == (0.0, 1.0)


def test_share_of_questions_with_alike_searches_is_less_certain():
    alone = share_of([1, 1, 0, 0, 1, 1, 0, 0], range(8))
    alike = share_of([1, 1, 0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 2, 2, 3, 3])
    assert alike.value == alone.value == 0.5
    assert alike.high - alike.low > alone.high - alone.low


def test_share_of_nothing_is_none_and_of_one_question_has_no_interval():
    assert share_of([], []) is None
    assert share_of([1.0, 0.0], ["q", "q"]) == Figure(0.5, None, None, 2)


def test_share_that_is_always_one_has_an_interval():
    found = share_of([1.0] * 20, range(20))
    assert (found.low, found.high) == pytest.approx((20 / (20 + 1.96**2), 1.0))


def test_mean_has_students_interval_that_is_not_below_zero():
    found = mean_figure([1.0, 3.0])
    assert found.value == 2.0
    assert found.high == pytest.approx(2.0 + t_quantile(0.975, 1))
    assert found.low == 0.0


def test_mixture_of_shares_adds_distances_in_squares():
    found = mixed(Figure(0.8, 0.7, 0.9, 10), Figure(0.2, 0.1, 0.4, 10), 0.5)
    assert found.value == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5 - (0.05**2 + 0.05**2) ** 0.5)
    assert found.high == pytest.approx(0.5 + (0.05**2 + 0.1**2) ** 0.5)
    assert mixed(Figure(0.8, 0.7, 0.9, 10), Figure(0.2, 0.1, 0.4, 10), 1.0)[:3] == pytest.approx(
        (0.8, 0.7, 0.9)
    )


def test_form_is_number_and_words_of_documents():
    useful = [
        searched("one two three", "one"),  # as asked for
        searched("one two three"),  # one too few
        searched("one two", "a b c d e f g"),  # seven words: more than the longest
        None,
    ]
    noisy = [searched("a b c d e f", Document("b", "Title"))]
    found = values(form_figures(Column("c", useful, noisy), setting([], [])))
    # Each question counts once: all searches here are of one.
    assert found == {"form": 0.5, "form_number": 0.75, "form_words": 0.75, "titles": 0.125}


def test_perfect_copy_is_in_the_form_of_the_real_engine():
    """Passages of BM25 are longer than what is asked for: its own share was 0.289."""
    real = [searched("a b", "a b c d e f g h i"), None, searched("a b c", "a b")]
    assert words_of(real) == (2, 9) and words_of([None]) == (1, 1)
    found = setting([], [], words=words_of(real))
    for column in (Column("real", real), Column("copy", real, real)):
        assert values(form_figures(column, found))["form"] == 1.0
    others = Column("others", [searched("a b", "a")], [searched("a b", "a b c d e f g h i j")])
    assert values(form_figures(others, found))["form_words"] == 0.0


def test_failed_searches_are_a_share_of_their_own():
    figure = failed_figures([None, searched("a"), searched("b"), searched("c")])["failed"]
    assert (figure.value, figure.number) == (0.25, 4)


def test_useful_searches_are_counted_by_hop_and_by_entities():
    searches = [searched("a", number=n, unseen=n >= 3) for n in range(6)]
    found = [Finding(True, True), Finding(False, False), Finding(True, None),
             Finding(True, True), None, Finding(None, True)]  # fmt: skip
    hops = [FINAL, FINAL, EARLIER, FINAL, FINAL, UNKNOWN]
    column = Column("c", searches, found_useful=found)
    assert values(useful_figures(column, setting([], hops))) == {
        "useful_final": round(2 / 3, 6),
        "useful_final_seen": 0.5,
        "useful_final_unseen": 1.0,
        "useful_final_golden": round(2 / 3, 6),
        "useful_earlier": 1.0,
        "useful_earlier_seen": 1.0,
        "useful_earlier_unseen": None,
        "useful_earlier_golden": None,
        "useful_unknown_golden": 1.0,
    }


def test_noisy_searches_leak_by_the_fact_or_by_the_golden_answer():
    searches = [searched("a", number=n) for n in range(5)]
    found = [Finding(True, False), Finding(False, True), Finding(False, None),
             Finding(None, False), Finding(None, None)]  # fmt: skip
    hops = [FINAL, EARLIER, EARLIER, UNKNOWN, UNKNOWN]
    column = Column("c", [], searches, found_noisy=found)
    figures = values(noisy_figures(column, setting([], hops)))
    # Queries that ask for nothing known count apart.
    assert (figures["leak"], figures["leak_unknown"]) == (round(2 / 3, 6), 0.0)
    assert (figures["leak_final"], figures["leak_earlier"]) == (1.0, 0.5)
    assert figures["leak_states"] == round(1 / 3, 6)
    assert figures["leak_golden"] == 0.5
    assert figures["leak_unseen"] is None


def test_true_noise_is_that_which_came():
    """Of four queries one noisy search leaks, and two useful ones miss."""
    searches = [searched("a", number=n) for n in range(5)]
    useful = [Finding(n >= 2, None) for n in range(4)] + [Finding(None, None)]
    noisy = [Finding(n == 3, None) for n in range(4)] + [Finding(None, True)]
    hops = [FINAL] * 4 + [UNKNOWN]
    column = Column("c", searches, searches, found_useful=useful, found_noisy=noisy)
    found = values(noise_figures(column, setting([], hops)))
    assert found == {
        "true_noise_0": 0.5,
        "true_noise_0.25": 0.25 * 0.75 + 0.75 * 0.5,
        "true_noise_0.5": 0.5 * 0.75 + 0.5 * 0.5,
        "true_noise_0.75": 0.75 * 0.75 + 0.25 * 0.5,
        "true_noise_1": 0.75,
    }


def test_golden_answer_that_the_query_names_is_no_leak():
    lima = Document("Lima is the capital.")
    assert golden_answer_in(searched(lima)) is True
    assert golden_answer_in(searched("Cusco is a city.")) is False
    assert golden_answer_in(searched(lima, text="what is Lima the capital of")) is None
    assert golden_answer_in(searched(lima, golden=("Yes",))) is None


def test_repeated_share_counts_4_grams_within_a_search():
    """Five words have two 4-grams, twice: two of four repeat. No 4-gram spans two documents."""
    assert wording.repeated_share([Document("A b c d e."), Document("a b, c d e")]) == 0.5
    assert wording.repeated_share([Document("a b c d e f g")]) == 0.0
    assert wording.repeated_share([Document("a b c"), Document("d e f")]) is None


def test_distance_of_words_is_jaccards():
    one, other = [Document("A b"), Document("c")], [Document("b c d e")]
    assert wording.word_distance(one, other) == 1 - 2 / 5
    assert wording.word_distance(one, one) == 0.0
    assert wording.word_distance([], []) == 0.0


def test_distinct_words_are_counted_in_pieces_of_1000():
    """Ten words over and over: ten pairs, of which one leads from the end to the beginning."""
    text = " ".join("abcdefghij")
    searches = [searched(text, text, number=n) for n in range(110)]  # 2,200 words: two pieces
    found = wording.distinct_words(searches, 0), wording.distinct_pairs(searches, 0)
    assert [(figure.value, figure.number) for figure in found] == [(10.0, 2), (10.0, 2)]
    assert wording.distinct_words(searches[:40], 0) is None


def test_wording_has_lengths_of_useful_and_noisy_documents():
    column = Column(
        "c", [searched("a b", "a b c d"), None], [searched("a", number=1), searched("a b c")]
    )
    found = values(wording_figures(column, setting([], [])))
    assert (found["words"], found["words_noisy"]) == (3.0, 2.0)
    assert found["repeated"] == 0.0


def test_two_seeds_are_compared_where_both_answered():
    first = [searched("a b"), searched("a b", number=1), None]
    second = [searched("a c"), searched("a b", number=1), searched("x")]
    found = values(seed_figures(Column("c", first, again=second)))
    assert found == {"seeds_differ": 0.5, "seeds_distance": round((2 / 3) / 2, 6)}


def test_cost_is_of_tokens_or_of_a_search():
    costs = [
        Cost("b1", 0.5, 1000, 100, 0),
        Cost("b1", 0.5, 1000, 100, 0),
        Cost("b2", 1.5, 3000, 300),
    ]
    column = Column("c", [searched("a", number=n, cost=cost) for n, cost in enumerate(costs)])
    priced = setting([], [], prices=Prices(prompt=1.0, completion=10.0, search=0.5))
    found = values(cost_figures(column, priced))
    # The mean of two batches.
    assert found == {
        "seconds": 1.0, "prompt_tokens": 2000.0, "completion_tokens": 200.0, "price": 0.004,
    }  # fmt: skip
    real = Column("c", [searched("a", cost=Cost("b1", 0.1))])
    assert values(cost_figures(real, priced, real=True)) == {
        "seconds": 0.1, "prompt_tokens": None, "completion_tokens": None, "price": 0.5,
    }  # fmt: skip
