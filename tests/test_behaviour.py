"""What an agent makes of noise, counted by hand."""

from __future__ import annotations

import pytest

from zs_env.evaluation.behaviour import (
    asks_again,
    behaviour_of,
    behaviour_shares,
    count_behaviour,
    was_fooled,
)
from zs_env.evaluation.record import Record, RecordSearch

QUESTION = "Where was the rival of Ada Blake born?"
GOLDEN = ("Jarrow Corvale",)


def found(turn, query, *texts, noisy=False, **options):
    return RecordSearch(turn, query, tuple(("", text) for text in texts), noisy, **options)


FALSE = found(0, "birthplace of Milo Cobb", "Milo Cobb was born in Dunmarsh.", noisy=True)
TRUE = found(1, "birthplace of Milo Cobb", "Milo Cobb was born in Jarrow Corvale.")


@pytest.mark.parametrize(
    ("answer", "searches", "expected"),
    [
        ("Dunmarsh", [FALSE], True),
        ("the DUNMARSH!", [FALSE], True),
        ("Dun", [FALSE], False),  # a part of a word
        ("Jarrow Corvale", [FALSE, TRUE], False),  # it is right
        ("Milo Cobb, of Jarrow Corvale", [FALSE], False),  # it holds what is right
        ("Arkesh", [FALSE], False),  # nobody said so
        ("Ada Blake", [found(0, "x", "Ada Blake was born in Arkesh.", noisy=True)], False),
        ("Dunmarsh", [found(0, "x", "Milo Cobb was born in Dunmarsh.")], False),  # no noise
        # A useful document says so too: then it is no doing of the noise.
        ("Milo Cobb", [FALSE, TRUE], False),
        # Words of two documents make no answer.
        ("Dunmarsh Arkesh", [found(0, "x", "Dunmarsh", "Arkesh", noisy=True)], False),
        ("It is Dunmarsh", [FALSE], False),  # not recognised: no document has these words
        ("The", [FALSE], False),
        (None, [FALSE], False),
    ],
)
def test_was_fooled_by_a_false_answer_that_noise_alone_states(answer, searches, expected):
    assert was_fooled(QUESTION, GOLDEN, answer, searches) is expected


def test_titles_of_noisy_documents_fool_too():
    search = RecordSearch(0, "x", (("Dunmarsh", "It is a city."),), True)
    assert was_fooled(QUESTION, GOLDEN, "Dunmarsh", [search])


NAMES = frozenset("ada blake milo cobb".split())


@pytest.mark.parametrize(
    ("query", "following", "expected"),
    [
        ("the birthplace of Ada Blake", "where was ada blake born", True),
        ("the birthplace of Ada Blake", "Ada Blake's birthplace", True),
        ("the birthplace of Ada Blake", "the birthplace of Milo Cobb", False),
        ("the birthplace of Ada Blake", "the birthplace of Ada Cobb", False),  # a namesake
        ("Ada Blake", "Ada Blake and Milo Cobb", True),
        ("Ada Blake and Milo Cobb", "Ada Blake", False),
        ("the birthplace of Ada Blake", "the rival of Ada Blake", True),  # it cannot be told
        # Without a name all words count.
        ("tallest tower", "the tallest tower of all", True),
        ("tallest tower", "tallest bridge", False),
        ("?", "?", False),
    ],
)
def test_asks_again_if_the_names_come_again(query, following, expected):
    assert asks_again(query, following, NAMES) is expected


def test_names_have_capitals_within_sentences_or_in_titles():
    question = "Who wrote The Long Road, and where?"
    paged = RecordSearch(0, "author of long road", (("Road of Kell", "Born in it."),), True)
    # "born" is no name: it has a capital only where a sentence begins.
    counts = count_behaviour(question, ("x",), None, [paged, found(1, "born long road", "")], 2)
    assert (counts["noisy_followed"], counts["noisy_asked_again"]) == (1, 1)
    counts = count_behaviour(question, ("x",), None, [paged, found(1, "author of kell", "")], 2)
    assert counts["noisy_asked_again"] == 0


EPISODE = [
    found(0, "rival of Ada Blake", "Ada Blake grew up in Arkesh.", noisy=True),
    found(1, "the rival of ada blake", "The rival of Ada Blake is Milo Cobb."),
    found(2, "birthplace of Milo Cobb", "So Milo Cobb was born in Dunmarsh.", noisy=True),
    found(4, "home of Milo Cobb", "So Milo Cobb lives in Kell.", noisy=True),
    found(5, "birthplace of Milo Cobb", "Nothing."),
]
"""Turn 3 has no action, and turn 6 answers."""


def test_counts_of_an_episode():
    counts = count_behaviour(QUESTION, GOLDEN, "Dunmarsh", EPISODE, num_turns=7)
    assert counts == {
        "fooled": 1,
        "noisy_found": 3,
        "noisy_leaked": 0,
        "noisy_followed": 3,
        "noisy_searched_on": 2,  # after turns 0 and 4; after turn 2 there was no action
        "noisy_asked_again": 2,
        "useful_followed": 2,
        "useful_searched_on": 1,  # after turn 1; after turn 5 came the answer
        "useful_asked_again": 0,  # another subject
    }


def test_search_without_a_turn_behind_it_does_not_count():
    counts = count_behaviour(QUESTION, GOLDEN, None, EPISODE, num_turns=6)
    assert counts["useful_followed"] == 1 and counts["noisy_followed"] == 3
    failed = [found(0, "x", noisy=True, failure="down")]
    assert not any(count_behaviour(QUESTION, GOLDEN, None, failed, num_turns=2).values())


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        (found(0, "x", "Nothing.", "He came from JARROW, Corvale!", noisy=True), 1),
        (RecordSearch(0, "x", (("Jarrow Corvale", "It is a city."),), True), 1),  # in a title
        (found(0, "x", "Jarrow", "Corvale", noisy=True), 0),  # words of two documents
        (found(0, "x", "Jarrow Corvales.", noisy=True), 0),  # a part of a word
        (found(0, "x", "Jarrow Corvale"), 0),  # no noise
    ],
)
def test_noise_that_holds_a_golden_answer_leaks(search, expected):
    counts = count_behaviour(QUESTION, GOLDEN, None, [search, EPISODE[0]], num_turns=2)
    assert counts["noisy_leaked"] == expected
    assert behaviour_shares([counts])["noisy_leak_share"] == expected / counts["noisy_found"]


@pytest.mark.parametrize("golden", [("Yes",), ("Milo Cobb",)])
def test_noise_of_which_a_leak_cannot_be_told_counts_in_no_share(golden):
    """The answer is yes, or the query for the birthplace of Milo Cobb names it."""
    counts = count_behaviour(QUESTION, golden, None, [FALSE], num_turns=2)
    assert (counts["noisy_found"], counts["noisy_leaked"]) == (0, 0)
    assert "noisy_leak_share" not in behaviour_shares([counts])


def test_shares_are_of_episodes_and_of_searches_and_missing_ones_are_left_out():
    first = count_behaviour(QUESTION, GOLDEN, "Dunmarsh", EPISODE, num_turns=7)
    second = count_behaviour(QUESTION, GOLDEN, "Jarrow Corvale", [FALSE], num_turns=2)
    assert behaviour_shares([first, second]) == {
        "fooled_share": 1 / 2,
        "noisy_searched_on_share": 2 / 4,
        "noisy_asked_again_share": 2 / 4,
        "useful_searched_on_share": 1 / 2,
        "useful_asked_again_share": 0,
        "noisy_leak_share": 0,
    }
    assert set(behaviour_shares([second])) == {
        "fooled_share", "noisy_searched_on_share", "noisy_asked_again_share", "noisy_leak_share",
    }  # fmt: skip
    assert behaviour_shares([]) == {"fooled_share": 0}


def test_record_is_counted_as_its_episode():
    record = Record(
        "world", "world", "q", 0, QUESTION, GOLDEN, "Dunmarsh", {}, "answered",
        searches=tuple(EPISODE), turns=7,
    )  # fmt: skip
    expected = count_behaviour(QUESTION, GOLDEN, "Dunmarsh", EPISODE, num_turns=7)
    assert behaviour_of(record) == expected
