"""Random choices that depend on their key alone."""

from __future__ import annotations

import statistics
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env import keyed_random as kr


def test_values_are_what_they_always_were():
    """Pinned: recorded runs would change silently with them."""
    assert kr.derive_key("a", 1) == 12444202034427101082
    assert kr.integers(100, 5, "pin").tolist() == [77, 84, 3, 91, 40]
    assert [kr.shuffled_index(i, 5, 9) for i in range(5)] == [4, 0, 1, 3, 2]
    assert kr.Stream("s").integer(1000) == 812


def test_values_are_the_same_in_another_process():
    code = "from zs_env import keyed_random as k; print(k.uniform('a', 3), k.integers(9, 3, 'b'))"
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == f"{kr.uniform('a', 3)} {kr.integers(9, 3, 'b')}\n"


def test_key_parts_of_different_type_or_grouping_differ():
    keys = [
        kr.derive_key(*parts) for parts in [(1, 2), (12,), ("1", 2), ("1, 2",), (1.0, 2), (2, 1)]
    ]
    assert len(set(keys)) == len(keys)


def test_uniform_is_uniform():
    draws = [kr.uniform("u", i) for i in range(20_000)]
    assert 0.0 <= min(draws) and max(draws) < 1.0
    assert statistics.fmean(draws) == pytest.approx(0.5, abs=0.01)
    assert statistics.pvariance(draws) == pytest.approx(1 / 12, abs=0.005)


@pytest.mark.parametrize("high", [1, 7, 1 << 20])
def test_integers_cover_their_range_evenly(high):
    draws = kr.integers(high, 70_000, "i", high)
    assert draws.min() >= 0 and draws.max() < high
    assert draws.mean() == pytest.approx((high - 1) / 2, abs=high / 100)
    if high == 7:
        assert np.bincount(draws).tolist() == pytest.approx([10_000] * 7, rel=0.05)


@given(st.integers(1, 300), st.integers(0, 2**64 - 1))
def test_shuffled_index_is_a_permutation(size, key):
    assert sorted(kr.shuffled_index(i, size, key) for i in range(size)) == list(range(size))


def test_shuffled_index_places_every_element_evenly():
    counts = np.zeros((12, 12))
    for key in range(4_000):
        for position in range(12):
            counts[position, kr.shuffled_index(position, 12, kr.derive_key(key))] += 1
    assert np.abs(counts / 4_000 - 1 / 12).max() < 0.03


def test_shuffled_index_outside_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 5\)"):
        kr.shuffled_index(5, 5, 0)


def test_permutation_is_a_permutation():
    assert sorted(kr.permutation(1000, "p")) == list(range(1000))
    assert kr.permutation(1000, "p").tolist() != kr.permutation(1000, "q").tolist()


def test_stream_repeats_and_shuffles():
    draws = [kr.Stream("s").shuffled(range(9)) for _ in range(2)]
    assert draws[0] == draws[1] and sorted(draws[0]) == list(range(9))
    stream = kr.Stream("t")
    assert np.bincount([stream.integer(3) for _ in range(3_000)]).min() > 900
    assert {stream.choice("ab") for _ in range(50)} == {"a", "b"}
