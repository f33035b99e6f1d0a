"""The classifier that tells real documents from simulated ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zs_env import Document
from zs_env.errors import MissingDependencyError, SimulationDataError
from zs_env.keyed_random import Stream
from zs_env.simulation.fidelity.classifier import tell_apart, words_and_pairs

WORDS = [f"w{number}" for number in range(60)]


def source(name, count=120, words=WORDS, documents=3):
    """Documents of random words, for each query."""
    draw = Stream(name)
    return [
        [Document(" ".join(draw.choice(words) for _ in range(20))) for _ in range(documents)]
        for _ in range(count)
    ]


def groups(count=120):
    return [f"query {number}" for number in range(count)]


def test_two_sources_alike_are_told_apart_by_chance():
    found = tell_apart(source("one"), source("other"), groups())
    assert found.low <= 0.5 <= found.high
    assert abs(found.value - 0.5) < 0.06


def test_the_same_documents_are_told_apart_half_the_time_exactly():
    found = tell_apart(source("one"), source("one"), groups())
    assert found.value == 0.5


def test_sources_of_other_words_are_told_apart():
    found = tell_apart(source("one"), source("other", words=WORDS[:40]), groups())
    assert found.low > 0.9


def test_word_order_alone_tells_sources_apart():
    """Words are the same: pairs of them are not."""
    real = [[Document("a b c d " * 3)] for _ in range(60)]
    simulated = [[Document("a c b d " * 3)] for _ in range(60)]
    assert tell_apart(real, simulated, groups(60)).value == 1.0


def test_case_spaces_and_titles_do_not_count():
    assert (
        words_and_pairs("A Day .")
        == words_and_pairs("a day.")
        == ["a", "day", ".", "a day", "day ."]
    )
    real = source("one")
    simulated = [
        [Document(each.text.upper().replace(" ", "  "), "Title") for each in documents]
        for documents in real
    ]
    assert tell_apart(real, simulated, groups()).value == 0.5


def test_classes_are_balanced_within_a_query():
    """A classifier that guesses the larger class would be right in three of four cases."""
    found = tell_apart(source("one", documents=3), source("other", documents=1), groups())
    assert found.number == 240
    assert found.value < 0.62


def test_queries_of_one_group_are_in_one_fold():
    """What differs between queries, and is new in each, is of no use if folds are by query."""
    draw = Stream("marks")
    real, simulated, names = [], [], []
    for number in range(40):
        marks = [f"m{number}{letter}" for letter in "ab"]
        for _ in range(3):
            real.append([Document(f"{marks[0]} {draw.choice(WORDS)}")])
            simulated.append([Document(f"{marks[1]} {draw.choice(WORDS)}")])
            names.append(f"query {number}")
    by_query = tell_apart(real, simulated, names)
    apart = tell_apart(real, simulated, [f"{name} {n}" for n, name in enumerate(names)])
    assert by_query.value < 0.65
    assert apart.value > 0.8


def test_too_few_queries_give_no_figure():
    assert tell_apart(source("one", 9), source("other", 9), groups(9)) is None


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(SimulationDataError, match="one length"):
        tell_apart(source("one", 9), source("other", 8), groups(9))


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingDependencyError, match=r"'\.\[fidelity\]'"):
        tell_apart(source("one"), source("other"), groups())


def test_package_is_imported_when_it_is_needed():
    code = (
        "import sys; import zs_env.simulation.fidelity.measure, zs_env.report.fidelity; "
        "sys.exit('sklearn' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
