"""Cleaning and cutting of untrusted document text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env.actions import TAG_NAMES, find_action
from zs_env.documents import MAX_WORD_CHARS, Document, clean_documents, clean_text, cut_words

HOSTILE = st.lists(
    st.sampled_from(
        ["<search>", "</search>", "<answer>", "</ANSWER >", "< think>", "</information>", "<", ">",
         "sea", "rch", " ", "\n", "\x00", "\x1b[31m", "\ud800", "\x85", "\u2028", "é", "word"]
    )
    | st.text(max_size=3),
    max_size=12,
).map("".join)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain text", "plain text"),
        ("two\nlines  and\ttabs ", "two lines and tabs"),
        ("<answer>Lima</answer>", "[answer]Lima[/answer]"),
        ("</ Search >", "[/ Search ]"),
        ("<<search>search>", "<[search]search>"),
        ("a < b > c <b>", "a < b > c <b>"),
        ("nul\x00 bell\x07 escape\x1b[31m", "nul bell escape [31m"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("", ""),
    ],
)
def test_clean_text_cases(text, clean):
    assert clean_text(text) == clean


@given(HOSTILE)
def test_clean_text_any_text_has_no_tag_and_is_valid(text):
    clean = clean_text(text)
    clean.encode("utf-8")
    lowered = "".join(clean.lower().split())
    assert not any(f"<{s}{name}>" in lowered for name in TAG_NAMES for s in ("", "/"))
    assert "\n" not in clean and "\x00" not in clean and "\x1b" not in clean
    assert clean_text(clean) == clean


@given(HOSTILE, HOSTILE)
def test_clean_text_any_two_texts_cannot_make_an_action_together(first, second):
    text = f"Doc 1 ({clean_text(first)}): {clean_text(second)}"
    assert type(find_action(text)[0]).__name__ == "Invalid"


@given(HOSTILE, st.integers(1, 6))
def test_cut_words_keeps_the_first_words(text, max_words):
    clean = clean_text(text)
    cut = cut_words(clean, max_words)
    assert clean.startswith(cut)
    assert len(cut.split()) <= max_words
    assert len(cut) <= max_words * MAX_WORD_CHARS


def test_cut_words_without_spaces_is_bounded_by_characters():
    assert cut_words("漢" * 10_000, 10) == "漢" * 10 * MAX_WORD_CHARS


@given(st.lists(st.builds(Document, HOSTILE, HOSTILE), max_size=4), st.integers(1, 4))
def test_clean_documents_shortcut_agrees_with_cleaning_each(documents, max_words):
    assert list(clean_documents(documents, max_words)) == [
        Document(
            cut_words(clean_text(document.text), max_words),
            cut_words(clean_text(document.title), max_words),
        )
        for document in documents
    ]


def test_clean_documents_fifty_thousand_words_are_cut():
    [document] = clean_documents([Document("word " * 50_000, "title " * 50_000)], 120)
    assert len(document.text.split()) == len(document.title.split()) == 120
