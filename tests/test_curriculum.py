"""The noise schedules."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env.curriculum import SCHEDULES, noise_probability


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # (4**0.5 - 1) / 3 * 0.5 = 1/6, the paper's formula with its values
        ({"progress": 0.5}, 1 / 6),
        ({"progress": 0.0}, 0.0),
        ({"progress": 1.0}, 0.5),
        ({"progress": 0.5, "start": 0.25, "end": 0.75}, 0.25 + 0.5 / 3),
        ({"progress": 0.5, "start": 0.6, "end": 0.0}, 0.4),
        ({"progress": 0.5, "base": 1.0}, 0.25),
        ({"progress": 0.5, "schedule": "linear"}, 0.25),
        ({"progress": 0.0, "schedule": "constant"}, 0.5),
        ({"progress": 0.0, "schedule": "reverse"}, 0.5),
        ({"progress": 0.5, "schedule": "reverse"}, 1 / 6),
        ({"progress": 1.0, "schedule": "reverse"}, 0.0),
    ],
)
def test_noise_probability_by_hand(arguments, expected):
    assert noise_probability(**arguments) == pytest.approx(expected)


@given(
    st.floats(0, 1),
    st.sampled_from(SCHEDULES),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0.01, 99),
)
def test_noise_probability_stays_between_start_and_end(progress, schedule, start, end, base):
    noise = noise_probability(progress, schedule, start, end, base)
    assert min(start, end) - 1e-9 <= noise <= max(start, end) + 1e-9


def test_noise_probability_random_is_a_fresh_uniform_draw_for_each_step():
    draws = [noise_probability(step / 1000, "random", 0.2, 0.4) for step in range(1000)]
    assert draws == [noise_probability(step / 1000, "random", 0.2, 0.4) for step in range(1000)]
    assert len(set(draws)) == 1000
    assert math.isclose(sum(draws) / 1000, 0.3, abs_tol=0.01)
    assert min(draws) < 0.21 and max(draws) > 0.39


@pytest.mark.parametrize(
    "arguments",
    [
        {"progress": -0.1},
        {"progress": 1.1},
        {"progress": math.nan},
        {"progress": 0.5, "start": 2.0},
        {"progress": 0.5, "end": -1.0},
        {"progress": 0.5, "base": 0.0},
        {"progress": 0.5, "base": math.inf},
        {"progress": 0.5, "schedule": "cosine"},
    ],
)
def test_noise_probability_out_of_range_is_refused(arguments):
    with pytest.raises(ValueError, match="noise schedule"):
        noise_probability(**arguments)
