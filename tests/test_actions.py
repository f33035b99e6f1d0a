"""Parsing of policy text."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zs_env.actions import (
    EMPTY_QUERY,
    NO_ACTION,
    Answer,
    Invalid,
    Search,
    _scan,
    close_turn,
    ends_turn,
    find_action,
    parse_action,
    tagged,
)

TAGS = [
    f"<{slash}{name}>"
    for name in ("think", "search", "answer", "information")
    for slash in ("", "/")
]
PIECES = st.sampled_from([*TAGS, "a", "b c", " ", "\n", "<", ">", "</", "é\ud800"])
TAGGY_TEXT = st.lists(PIECES, max_size=14).map("".join)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("<search>capital of Peru</search>", Search("capital of Peru")),
        ("<answer>Lima</answer>", Answer("Lima")),
        ("<think>hm</think> so <answer> Lima\n city </answer> done", Answer("Lima city")),
        ("<search>a</search><answer>b</answer>", Search("a")),
        ("<answer>b</answer><search>a</search>", Answer("b")),
        ("<answer></answer>", Answer("")),
        ("<search> \n </search>", Invalid(EMPTY_QUERY)),
        ("", Invalid(NO_ACTION)),
        ("Lima", Invalid(NO_ACTION)),
        ("<search>never closed", Invalid(NO_ACTION)),
        ("</search>", Invalid(NO_ACTION)),
        ("<SEARCH>x</SEARCH>", Invalid(NO_ACTION)),
        # Closed thoughts are ignored, wherever they stand; unclosed ones hide nothing.
        ("<think><answer>x</answer></think><search>y</search>", Search("y")),
        ("<think>a<think>b</think><search>y</search>", Search("y")),
        ("<think><search>y</search>", Search("y")),
        ("<search>big <think>or not</think>city</search>", Search("big city")),
        ("</think><search>y</search>", Search("y")),
        # What is complete first counts, so that a sampler that stops there reads the same.
        ("<search>a<answer>b</answer></search>", Answer("b")),
        ("<search>a<search>b</search>", Search("b")),
        ("<search>a<answer>b</search>", Search("a b")),
        ("<answer>a</search>b</answer>", Answer("a b")),
        ("<information><answer>x</answer></information>", Answer("x")),
    ],
)
def test_parse_action_cases(text, action):
    assert parse_action(text) == action


def test_find_action_end_is_behind_the_element():
    text = "<think>t</think><search>a</search> and more"
    assert find_action(text) == (Search("a"), text.index(" and"))
    assert find_action("nothing") == (Invalid(NO_ACTION), len("nothing"))


@given(TAGGY_TEXT)
def test_find_action_any_text_reads_the_same_when_generation_stops_at_the_end(text):
    """A sampler that stops behind the action, or runs on, sees the same action."""
    action, end = find_action(text)
    if not isinstance(action, Invalid):
        assert find_action(text[:end]) == (action, end)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("", False),
        ("Lima", False),
        ("<search>Peru", False),
        ("</search>", False),
        ("<search>Peru</search>", True),
        ("<search>Peru</search> and more", True),
        ("<answer></answer>", True),
        # A query without text costs a turn whatever comes after it.
        ("<search> </search>", True),
        ("<think>hm</think><search>Peru</search>", True),
        ("<think>hm</think> so <answer>Lima</answer>", True),
        # An open thought may yet be closed, and would hide what stands in it.
        ("<think><search>Peru</search>", False),
        ("<think><search> </search>", False),
        ("<think>a</think><think><answer>Lima</answer>", False),
        ("<search>a<think>b</search>", False),
        ("<think><search>Peru</search></think>", False),
        ("<think><search>Peru</search></think><answer>Lima</answer>", True),
        ("<think>a<think>b</think><search>Peru</search>", True),
        ("<search>big <think>or not</think>city</search>", True),
        ("</think><search>Peru</search>", True),
        ("<search>Peru</search><think>", True),
        ("<THINK><search>Peru</search>", True),
        # What is left around a thought is no tag.
        ("<th<think></think>ink><search>Peru</search>", True),
    ],
)
def test_ends_turn_cases(text, ends):
    assert ends_turn(text) is ends


@given(TAGGY_TEXT, TAGGY_TEXT)
def test_ends_turn_true_nothing_that_follows_changes_the_action(text, more):
    if ends_turn(text):
        assert find_action(text + more) == find_action(text)


@given(TAGGY_TEXT)
def test_ends_turn_false_closing_the_thought_changes_the_action(text):
    """It does not make a sampler go on for nothing."""
    if not ends_turn(text) and find_action(text)[0] != Invalid(NO_ACTION):
        assert find_action(text + "</think>") != find_action(text)


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("<think>hm</think><search>Peru", "<think>hm</think><search>Peru</search>"),
        ("<answer>Lima", "<answer>Lima</answer>"),
        ("<answer>", "<answer></answer>"),
        ("<search> ", "<search> </search>"),
        ("<search>a<answer>b", "<search>a<answer>b</answer>"),
        ("<answer>a</search>b", "<answer>a</search>b</answer>"),
        ("<think><answer>a</think><search>b", "<think><answer>a</think><search>b</search>"),
        ("<search>big <think>or not</think>city", "<search>big <think>or not</think>city</search>"),
        # The stop text stood in an open thought; the caller goes on from there.
        ("<think>or <search>Peru", "<think>or <search>Peru</search>"),
        *[
            (text, text)
            for text in (
                "", "Lima", "<think>a</think>", "</search>", "<think><search></think>",
                "<search>a</search>", "<search> </search>", "<answer>a</answer> and <search>b",
                "<think><search>a</search> <answer>b",
            )
        ],
    ],
)  # fmt: skip
def test_close_turn_cases(text, closed):
    assert close_turn(text) == closed


def last_opened(text):
    """The element that was opened last outside of closed thoughts, worked out another way."""
    visible = re.sub("<think>.*?</think>", " ", text, flags=re.DOTALL)
    return re.findall("<(search|answer)>", visible)[-1:]


@given(TAGGY_TEXT, st.sampled_from(["search", "answer"]), TAGGY_TEXT)
def test_close_turn_gives_back_the_tag_that_a_server_stripped(before, name, content):
    """Any text that ends a turn right at its stop tag, unless another element was opened in it."""
    stripped = f"{before}<{name}>{content}"
    whole = f"{stripped}</{name}>"
    assume(ends_turn(whole) and find_action(whole)[1] == len(whole))
    assume(last_opened(stripped) == [name])
    assert close_turn(stripped) == whole


@given(TAGGY_TEXT)
def test_close_turn_leaves_what_is_closed_and_closes_no_more_than_once(text):
    closed = close_turn(text)
    assert closed in (text, text + "</search>", text + "</answer>")
    assert close_turn(closed) == closed
    if find_action(text)[0] != Invalid(NO_ACTION):
        assert closed == text


@pytest.mark.parametrize(
    "piece", ["<think>", "</think>", "<search>", "<think></think>", "<<", "<search><think>"]
)
def test_close_turn_megabyte_of_tags_is_read_to_its_end(piece):
    """In quadratic time this would not end within the hour."""
    text = piece * (1_000_000 // len(piece)) + "<think></think><answer>x"
    assert close_turn(text) == text + "</answer>"


@given(TAGGY_TEXT)
def test_find_action_shortcut_agrees_with_the_scan(text):
    assert find_action(text) == _scan(text)


@given(TAGGY_TEXT)
def test_parse_action_any_text_leaves_no_tag_in_the_content(text):
    action = parse_action(text)
    content = {Search: "query", Answer: "text", Invalid: "reason"}[type(action)]
    assert not any(tag in getattr(action, content) for tag in TAGS)


@given(st.text(st.characters(exclude_characters="<"), min_size=1))
def test_parse_action_rendered_action_is_read_back(text):
    folded = " ".join(text.split())
    assert parse_action(tagged("answer", text)) == Answer(folded)
    expected = Search(folded) if folded else Invalid(EMPTY_QUERY)
    assert parse_action(tagged("search", text)) == expected


@pytest.mark.parametrize(
    "piece", ["<think>", "</think>", "<search>", "<think></think>", "<<", "<search><think>"]
)
def test_parse_action_megabyte_of_tags_is_read_to_its_end(piece):
    """In quadratic time this would not end within the hour."""
    text = piece * (1_000_000 // len(piece)) + "<think></think><answer>x</answer>"
    action, end = find_action(text)
    assert end == len(text)
    assert isinstance(action, Answer)


def test_parse_action_megabyte_without_an_action_is_invalid():
    for piece in ("<search>", "</search>", "<answer>a", "<think>", "<"):
        assert parse_action(piece * 100_000) == Invalid(NO_ACTION)
