"""The limit of the requests at a server: when it falls, when it grows, and by how much."""

from __future__ import annotations

import pytest

from zs_env.concurrency.limit import AdaptiveLimit


def halved(most, in_flight):
    """A limit after its first sign of overload."""
    limit = AdaptiveLimit(most)
    limit.shrink(0, in_flight)
    return limit


def answer(limit, times):
    for _ in range(times):
        limit.grow(limit.allowed)


@pytest.mark.parametrize(("most", "first"), [(1024, 256), (256, 256), (7, 7), (1, 1)])
def test_limit_begins_with_what_is_no_flood(most, first):
    assert AdaptiveLimit(most).allowed == first


def test_limit_of_an_untried_server_grows_with_each_answer_up_to_the_highest():
    limit = AdaptiveLimit(1024)
    answer(limit, 3)
    assert limit.allowed == 259
    answer(limit, 2000)
    assert limit.allowed == 1024


def test_limit_that_is_not_used_to_the_full_does_not_grow():
    limit = AdaptiveLimit(1024)
    for in_flight in (1, 255):
        limit.grow(in_flight)
    assert limit.allowed == 256
    limit = halved(1024, 256)
    for _ in range(1000):
        limit.grow(127)
    assert limit.allowed == 128


def test_limit_is_halved_once_by_all_that_were_under_way():
    limit = AdaptiveLimit(256)
    for in_flight in range(256, 156, -1):
        limit.shrink(0, in_flight)
    assert (limit.allowed, limit.window) == (128, 1)
    limit.shrink(1, 128)
    for _ in range(50):
        limit.shrink(1, 100)
        limit.shrink(0, 100)
    assert (limit.allowed, limit.window) == (64, 2)


@pytest.mark.parametrize(("in_flight", "left"), [(256, 128), (80, 40), (64, 32), (3, 32), (1, 32)])
def test_limit_keeps_half_of_what_is_under_way_but_one_eighth_at_least(in_flight, left):
    assert halved(256, in_flight).allowed == left


def test_limit_that_was_halved_grows_by_a_step_for_each_window_of_answers():
    limit = halved(1024, 256)
    answer(limit, 127)
    assert limit.allowed == 128
    answer(limit, 1)
    assert limit.allowed == 136  # 128 + 128 / 16
    answer(limit, 135)
    assert limit.allowed == 136
    answer(limit, 1)
    assert limit.allowed == 144
    answer(limit, 10**5)
    assert limit.allowed == 1024


def test_limit_counts_the_answers_of_a_window_anew_after_it_was_halved():
    limit = halved(256, 256)
    answer(limit, 127)
    limit.shrink(1, 128)
    answer(limit, 63)
    assert limit.allowed == 64
    answer(limit, 1)
    assert limit.allowed == 68


def test_limit_never_falls_below_one_and_leaves_it_again():
    limit = AdaptiveLimit(4)
    for window in range(10):
        limit.shrink(window, 1)
    assert limit.allowed == 1
    answer(limit, 1)
    assert limit.allowed == 2
    answer(limit, 2)
    assert limit.allowed == 3


def test_limit_of_one_stays_one():
    limit = halved(1, 1)
    answer(limit, 5)
    assert limit.allowed == 1
