"""What may be written next: masks by hand, and what random policies write under them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import ByteTokenizer, bpe_tokenizer
from zs_env.actions import TAG_NAMES
from zs_env.envs.token_env import ZeroSearchTokenEnv
from zs_env.envs.token_vector_env import ZeroSearchTokenVectorEnv
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.masks import MIN_TURN_TOKENS, NUM_STATES, TokenMasks, TurnState
from zs_env.world.tokenizer import SPECIAL_TOKENS, WorldTokenizer

TAGS = {f"<{slash}{name}>" for name in TAG_NAMES for slash in ("", "/")}
DOCUMENT_TAGS = {"<information>", "</information>"}
TOKENIZER = WorldTokenizer("tiny")
WORDS = set(TOKENIZER.tokens) - TAGS - set(SPECIAL_TOKENS)
COMPLETE = re.compile(r"<think>.*</think> ?<(search|answer)>(.+)</\1>", re.DOTALL)


def allowed_after(masks, text, tokens_left=100, last_turn=False):
    """The tokens, as text, that may follow ``text``."""
    states = np.array([TurnState.START])
    for token in TOKENIZER.encode(text):
        states = masks.after(states, np.array([token]))
    row = masks.classes(states, np.array([tokens_left]), np.array([last_turn]))[0]
    return {TOKENIZER.tokens[token] for token in np.flatnonzero(masks.table[row])}


@pytest.mark.parametrize(
    ("written", "allowed"),
    [
        ("", {"<think>"}),
        ("<think>", WORDS | {"</think>"}),
        ("<think> ada , blake", WORDS | {"</think>"}),
        ("<think> ada </think>", {"<search>", "<answer>"}),
        ("<think></think> <search>", WORDS),
        ("<think></think> <answer>", WORDS),
        ("<think></think> <search> ada", WORDS | {"</search>"}),
        ("<think></think> <answer> ada", WORDS | {"</answer>"}),
        ("<think></think> <search> ada </search>", {"<think>"}),
    ],
)
def test_mask_of_tags_in_each_state_is_the_one_worked_out_by_hand(written, allowed):
    masks = TokenMasks(TextEncoder(TOKENIZER), "tags")
    assert allowed_after(masks, written) == allowed


@pytest.mark.parametrize(
    ("written", "tokens_to_close", "free", "closing"),
    [
        ("", 5, {"<think>"}, {"<think>"}),
        ("<think>", 4, WORDS | {"</think>"}, {"</think>"}),
        ("<think></think>", 3, {"<search>", "<answer>"}, {"<search>", "<answer>"}),
        ("<think></think><search>", 2, WORDS, WORDS),
        ("<think></think><search> ada", 1, WORDS | {"</search>"}, {"</search>"}),
        ("<think></think><answer>", 2, WORDS, WORDS),
        ("<think></think><answer> ada", 1, WORDS | {"</answer>"}, {"</answer>"}),
    ],
)
def test_mask_of_tags_closes_the_turn_just_in_time(written, tokens_to_close, free, closing):
    masks = TokenMasks(TextEncoder(TOKENIZER), "tags")
    assert allowed_after(masks, written, tokens_to_close + 1) == free
    for tokens_left in range(1, tokens_to_close + 1):
        assert allowed_after(masks, written, tokens_left) == closing


def test_mask_of_vocabulary_is_all_that_a_policy_may_write():
    masks = TokenMasks(TextEncoder(TOKENIZER), "vocabulary")
    expected = WORDS | (TAGS - DOCUMENT_TAGS) | {"[end]"}
    assert allowed_after(masks, "") == allowed_after(masks, "<answer>", 1) == expected
    assert masks.table.shape == (1, 123)


def test_mask_of_none_is_everything():
    masks = TokenMasks(TextEncoder(TOKENIZER), "none")
    assert allowed_after(masks, "") == set(TOKENIZER.tokens)


@pytest.mark.parametrize("masking", ["tags", "vocabulary", "none"])
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_no_mask_of_any_state_is_empty(masking, size):
    masks = TokenMasks(TextEncoder(WorldTokenizer(size)), masking)
    assert masks.table.any(axis=1).all() and masks.table.dtype == np.int8
    assert len(masks.table) == (2 * NUM_STATES + 1 if masking == "tags" else 1)


@pytest.mark.parametrize("masking", ["tags", "vocabulary"])
def test_documents_tags_and_special_tokens_are_never_allowed(masking):
    for tokenizer in (TOKENIZER, WorldTokenizer()):
        masks = TokenMasks(TextEncoder(tokenizer), masking)
        banned = (
            DOCUMENT_TAGS | {"[pad]", "[unknown]"} | ({"[end]"} if masking == "tags" else set())
        )
        assert not masks.table[:, [tokenizer.token_id(token) for token in banned]].any()


def test_tokens_that_may_end_a_turn_are_those_that_may_complete_an_action():
    masks = TokenMasks(TextEncoder(TOKENIZER), "none")
    ends = {TOKENIZER.tokens[token] for token in np.flatnonzero(masks.may_end)}
    assert ends == {"</search>", "</answer>", "[end]"}
    tokenizer = bpe_tokenizer()
    masks = TokenMasks(TextEncoder(tokenizer), "none")
    ends = {tokenizer.decode([token]) for token in np.flatnonzero(masks.may_end)}
    assert ends >= {">", "><", "[end]"} and all(">" in text for text in ends - {"[end]"})


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), bpe_tokenizer(), bpe_tokenizer("<think>")])
def test_split_tags_are_refused_by_masking_tags_and_taken_by_vocabulary(tokenizer):
    encoder = TextEncoder(tokenizer)
    with pytest.raises(ValueError, match="splits .*</search>.* or use masking='vocabulary'"):
        TokenMasks(encoder, "tags")
    vocabulary = TokenMasks(encoder, "vocabulary").table[0]
    assert vocabulary[list(encoder.encode("<search>Ada</search>"))].all()
    assert vocabulary[tokenizer.eos_token_id] and len(vocabulary) == len(tokenizer)


def test_tokenizer_of_special_tokens_alone_is_refused():
    class NoWords(WorldTokenizer):
        @property
        def all_special_ids(self):
            return range(len(self))

    with pytest.raises(ValueError, match="needs words"):
        TokenMasks(TextEncoder(NoWords()), "tags")


def make_envs(**kwargs):
    return ZeroSearchTokenVectorEnv(16, autoreset_mode="SameStep", **kwargs)


def play_at_random(envs, num_steps, share_masked=0.0, seed=0):
    """Play; the episodes that were seen. Asserts that no mask is ever empty."""
    draw = np.random.default_rng(seed)
    _, infos = envs.reset(seed=seed)
    episodes = set(envs.episodes)
    for _ in range(num_steps):
        masks = infos["action_mask"]
        assert masks.any(axis=1).all() and masks.dtype == np.int8
        assert np.array_equal(envs.action_masks(), masks.astype(np.bool_))
        chances = draw.random(masks.shape) * np.maximum(masks, draw.random((16, 1)) < share_masked)
        infos = envs.step(chances.argmax(axis=1))[-1]
        episodes |= set(envs.episodes)
    return episodes


@pytest.mark.parametrize("tokens_left", [3, 100])
def test_answer_last_forbids_searches_in_the_last_turn_and_nothing_else(tokens_left):
    masks = TokenMasks(TextEncoder(TOKENIZER), "tags", answer_last=True)
    free = TokenMasks(TextEncoder(TOKENIZER), "tags")
    for written in ("", "<think>", "<think></think> <answer>", "<think></think> <answer> ada"):
        expected = allowed_after(free, written, tokens_left)
        assert allowed_after(masks, written, tokens_left, last_turn=True) == expected
    choice = "<think></think>"
    assert allowed_after(masks, choice, tokens_left, last_turn=True) == {"<answer>"}
    assert allowed_after(masks, choice, tokens_left) == {"<search>", "<answer>"}
    assert allowed_after(free, choice, tokens_left, last_turn=True) == {"<search>", "<answer>"}


@pytest.mark.parametrize("max_turns", [2, 3])
def test_with_answer_last_random_play_always_answers(max_turns):
    kwargs = {"world_size": "tiny", "max_turn_tokens": 12, "max_turns": max_turns}
    ends = {}
    for answer_last in (False, True):
        episodes = play_at_random(make_envs(answer_last=answer_last, **kwargs), 500)
        finished = [episode for episode in episodes if episode.finished]
        ends[answer_last] = {episode.terminated for episode in finished}
        assert {episode.num_searches for episode in finished} == set(range(max_turns))
    assert ends == {False: {True, False}, True: {True}}


@pytest.mark.parametrize("masking", ["vocabulary", "none"])
def test_answer_last_needs_tags(masking):
    with pytest.raises(ValueError, match=r"`answer_last` needs masking='tags', got"):
        ZeroSearchTokenEnv(masking=masking, answer_last=True)


def test_turns_may_be_as_long_as_their_tokens():
    """Turns of over 4,096 characters were once cut behind the back of the mask, and invalid."""
    episodes = play_at_random(make_envs(max_turn_tokens=1200, context_length=4096), 1300)
    longest = max(len(segment.text) for episode in episodes for segment in episode.segments)
    assert longest > 4096
    assert all(episode.num_invalid == episode.cut_chars == 0 for episode in episodes)


HUGGING_FACE = {
    "tokenizer": bpe_tokenizer(*sorted(TAGS)), "context_length": 4096, "max_turn_tokens": 12,
}  # fmt: skip


@pytest.mark.parametrize(
    "kwargs",
    [
        {"world_size": "tiny"},
        {"world_size": "tiny", "max_turn_tokens": MIN_TURN_TOKENS},
        {"max_turn_tokens": MIN_TURN_TOKENS + 1},
        {"max_turn_tokens": 16, "context_length": 256},
        HUGGING_FACE,
    ],
)
def test_random_play_under_tags_writes_complete_turns_only(kwargs):
    episodes = play_at_random(make_envs(**kwargs), 1500)
    turns = [
        segment.text
        for episode in episodes
        for segment in episode.segments
        if segment.role == "policy"
    ]
    assert len(turns) > 100 and all(episode.num_invalid == 0 for episode in episodes)
    for turn in turns:
        content = COMPLETE.fullmatch(turn)
        assert content and content[2].strip() and len(re.findall("</?[a-z]+>", turn)) == 4, turn
    assert {episode.answer is None for episode in episodes if episode.finished} == {True, False}


@pytest.mark.parametrize("share_masked", [0.05, 0.5])
@pytest.mark.parametrize("masking", ["tags", "vocabulary"])
def test_random_play_with_masked_tokens_meets_no_empty_mask(masking, share_masked):
    envs = make_envs(world_size="tiny", masking=masking, max_turn_tokens=9)
    episodes = play_at_random(envs, 600, share_masked)
    assert any(episode.num_invalid for episode in episodes)


@settings(max_examples=50)
@given(
    choices=st.lists(st.integers(0, 10**6), min_size=1, max_size=120),
    max_turn_tokens=st.integers(MIN_TURN_TOKENS, 12),
)
def test_any_masked_play_has_a_token_to_write_and_no_invalid_turn(choices, max_turn_tokens):
    env = ZeroSearchTokenEnv(
        world_size="tiny", max_turn_tokens=max_turn_tokens, masked_action="error"
    )
    env.reset(seed=0)
    for choice in choices:
        tokens = np.flatnonzero(env.action_masks())
        if env.step(tokens[choice % len(tokens)])[2:4] != (False, False):
            break
    assert env.episode.num_invalid == 0


def test_masked_tag_inside_of_an_element_is_counted_and_the_template_goes_on():
    env = ZeroSearchTokenEnv(world_size="tiny")
    env.reset(seed=0)
    tokenizer = env.setup.tokenizer
    for text in ("<think>", "<search>", "</search>", "<information>", "[pad]", "[end]"):
        if text != "<think>":
            assert not env.action_masks()[tokenizer.token_id(text)]
        env.step(tokenizer.token_id(text))
    assert env.episode.num_invalid == 1 and env.episode.turn == 1, "[end] ends the turn"
    for token in tokenizer.encode("<think></think><answer>ada</answer>"):
        info = env.step(token)[-1]
    assert info["num_masked"] == 5


def test_blank_token_cannot_be_all_of_a_query():
    """A query of white space alone was Invalid, though the mask had allowed every token of it."""
    tokenizer = HUGGING_FACE["tokenizer"]
    masks = TokenMasks(TextEncoder(tokenizer), "tags")
    texts = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    blank = [i for i, text in enumerate(texts) if not text.strip() and text]
    open_tag = [i for i, text in enumerate(texts) if "<" in text and text not in TAGS]
    assert blank and open_tag
    assert not masks.table[TurnState.QUERY_START, blank].any()
    assert not masks.table[TurnState.ANSWER_START, blank].any()
    assert masks.table[TurnState.QUERY, blank].all()
    assert not masks.table[:, open_tag].any()
