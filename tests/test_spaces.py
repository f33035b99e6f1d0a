"""The text space, and every Gymnasium function that has to know it."""

from __future__ import annotations

import multiprocessing
import pickle
from copy import deepcopy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import flatdim, flatten, flatten_space, unflatten
from gymnasium.spaces.utils import is_space_dtype_shape_equiv
from gymnasium.vector.utils import (
    batch_differing_spaces,
    batch_space,
    concatenate,
    create_empty_array,
    create_shared_memory,
    iterate,
    read_from_shared_memory,
    write_to_shared_memory,
)
from hypothesis import given
from hypothesis import strategies as st

from zs_env.actions import Answer, Search, parse_action
from zs_env.envs.spaces import UnicodeText

SPACE = UnicodeText(300)
ODD_TEXTS = ["", "plain", "0" * 300, "é 漢字 🙂", "\ud800", "\x00\x00", "\n", chr(0x10FFFF)]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_contains_any_unicode_of_allowed_length(text):
    assert text in SPACE
    assert text in UnicodeText(300, min_length=len(text))
    assert text not in UnicodeText(301, min_length=len(text) + 1)


def test_contains_wrong_length_or_type_is_false():
    assert "x" * 301 not in SPACE
    assert all(other not in SPACE for other in (None, 3, b"x", ["x"], np.array("x")))


def test_contains_looks_at_the_length_only():
    """A look at each of 20,000 characters would take milliseconds at every step."""

    class Unread(str):
        def __iter__(self):
            raise AssertionError("the characters were looked at")

    assert SPACE.contains(Unread("é" * 300))


def test_sample_is_a_short_action_and_follows_the_seed():
    space = UnicodeText(4096, seed=3)
    samples = [space.sample() for _ in range(50)]
    assert all(sample in space for sample in samples)
    assert {type(parse_action(sample)) for sample in samples} == {Search, Answer}
    space.seed(3)
    assert [space.sample() for _ in range(50)] == samples
    assert all(UnicodeText(5).sample() in UnicodeText(5) for _ in range(9))
    assert all(UnicodeText(500, min_length=400).sample().__len__() >= 400 for _ in range(9))


def test_sample_with_a_mask_follows_gymnasium():
    mask = np.array([char in "ab" for char in SPACE.character_list], dtype=np.int8)
    assert set(SPACE.sample((50, mask))) <= {"a", "b"}
    probability = np.array([char == "a" for char in SPACE.character_list], dtype=np.float64)
    assert SPACE.sample(probability=(4, probability)) == "aaaa"
    assert SPACE.character_list[SPACE.character_index("b")] == "b"


def test_space_is_equal_by_lengths_copied_and_pickled():
    assert UnicodeText(300) == SPACE != UnicodeText(301)
    assert SPACE != gym.spaces.Text(300, min_length=0)
    for copy in (deepcopy(SPACE), pickle.loads(pickle.dumps(SPACE))):
        assert copy == SPACE
    assert repr(SPACE) == "UnicodeText(0, 300)"


def test_space_wrong_lengths_are_refused():
    with pytest.raises(ValueError, match="0 <= min_length <= max_length"):
        UnicodeText(3, min_length=4)


@given(st.text(st.characters(), max_size=300) | st.sampled_from(ODD_TEXTS))
def test_flatten_round_trips(text):
    flat = flatten(SPACE, text)
    assert flat in flatten_space(SPACE)
    assert flat.shape == (flatdim(SPACE),)
    assert unflatten(SPACE, flat) == text


@given(st.lists(st.text(st.characters(), max_size=300), min_size=1, max_size=4))
def test_shared_memory_round_trips(texts):
    memory = create_shared_memory(SPACE, n=len(texts), ctx=multiprocessing)
    for text in ("x" * 300, None):  # longer texts before must leave no trace
        for index, value in enumerate(texts):
            write_to_shared_memory(SPACE, index, text or value, memory)
    assert read_from_shared_memory(SPACE, memory, n=len(texts)) == tuple(texts)


def test_batching_functions_know_the_space():
    batched = batch_space(SPACE, 3)
    texts = ("a", "", "漢")
    assert texts in batched
    assert tuple(iterate(batched, texts)) == texts
    assert concatenate(SPACE, texts, create_empty_array(SPACE, 3)) == texts
    assert create_empty_array(UnicodeText(9, min_length=2), 2) == ("  ", "  ")
    assert len(set(batched.sample())) > 1, "each has a random state of its own"
    different = batch_differing_spaces([UnicodeText(3), UnicodeText(4)])
    assert [space.max_length for space in different] == [3, 4]
    assert is_space_dtype_shape_equiv(SPACE, UnicodeText(300))
    assert not is_space_dtype_shape_equiv(SPACE, UnicodeText(301))


def test_space_inside_a_dict_flattens():
    space = gym.spaces.Dict(text=UnicodeText(5), number=gym.spaces.Discrete(3))
    value = {"text": "ab", "number": np.int64(2)}
    assert unflatten(space, flatten(space, value)) == value


def test_shared_memory_read_once_shows_what_is_there_now():
    """`AsyncVectorEnv` reads when it is made; a snapshot would show empty texts for ever."""
    memory = create_shared_memory(SPACE, n=2, ctx=multiprocessing)
    texts = read_from_shared_memory(SPACE, memory, n=2)
    assert texts == ("", "") and texts in batch_space(SPACE, 2)
    write_to_shared_memory(SPACE, 1, "é", memory)
    before = deepcopy(texts)
    write_to_shared_memory(SPACE, 1, "later", memory)
    assert texts == ("", "later") and texts[1] == "later" and list(texts) == ["", "later"]
    assert before == ("", "é") and type(before) is tuple
    assert pickle.loads(pickle.dumps(texts)) == ("", "later")
    assert repr(texts) == "('', 'later')" and hash(texts) == hash(("", "later"))
