"""The texts the environment writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env.documents import Document
from zs_env.prompts import (
    NO_DOCUMENTS,
    PROMPT,
    fit_documents,
    render_correction,
    render_information,
    render_prompt,
)


def test_render_prompt_holds_the_question_without_tags():
    """A tag in a question once stood in the prompt as if the environment had written it."""
    assert "Question: {x} %s [search] \ufffd\n" in render_prompt(PROMPT, "{x} %s <search> \ud800")


def test_render_information_layout():
    documents = [Document("Lima is big."), Document("Cusco is old.", "Cusco")]
    assert render_information(documents) == (
        "\n<information>\nDoc 1: Lima is big.\nDoc 2 (Cusco): Cusco is old.\n</information>\n"
    )
    assert render_information([]) == f"\n<information>\n{NO_DOCUMENTS}\n</information>\n"


def test_render_correction_says_what_was_wrong_and_what_to_write():
    text = render_correction("the query was empty")
    assert "the query was empty" in text and "<search>" in text and "<answer>" in text


@given(st.integers(1, 60), st.integers(0, 900), st.integers(1, 5))
def test_fit_documents_is_the_longest_that_fits(num_words, budget, num_documents):
    documents = [Document(" ".join(["word"] * num_words))] * num_documents

    def length(words):
        return len(render_information([Document(" ".join(["word"] * words))] * num_documents))

    fitting = [words for words in range(1, num_words + 1) if length(words) <= budget]
    fitted = fit_documents(documents, num_words, budget, len)
    if not fitting:
        assert fitted is None or len(fitted[0]) < num_documents, "fewer documents, if any"
    else:
        shown, block = fitted
        assert {len(document.text.split()) for document in shown} == {max(fitting)}
        assert block == render_information(shown)


def test_fit_documents_shortens_titles_too():
    """Long titles once ended an episode whose documents would have fitted."""
    documents = [Document("two words", "title " * 20)] * 5
    shown, block = fit_documents(documents, 30, 300, len)
    assert len(block) <= 300 and all(0 < len(d.title) < 60 for d in shown)


def test_fit_documents_measures_in_the_callers_unit():
    documents = [Document("one two three four five six")]
    shown, block = fit_documents(documents, 6, 9, lambda text: len(text.split()))
    # <information>, "Doc", "1:", five words, </information>
    assert shown[0].text == "one two three four five" and len(block.split()) == 9


@pytest.mark.parametrize("budget", [0, 10, 40])
def test_fit_documents_too_little_room_gives_none(budget):
    assert fit_documents([Document("w" * 24)], 30, budget, len) is None
