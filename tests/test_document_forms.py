"""Forms of documents: grammars by hand, and how what was written is read."""

from __future__ import annotations

import json
import re

import pytest

from zs_env import Document, SearchRequest
from zs_env.engines.document_forms import (
    check_prefill,
    keeps_to,
    make_grammar,
    parse_json_documents,
)

REQUEST = SearchRequest("q", "?", ("x",), top_k=2, document_words=3)


@pytest.mark.parametrize(
    ("prefill", "text", "fits"),
    [
        ("", "Doc 1: a b c d e f\nDoc 2: a", True),
        ("", "Doc 1: a b c d e f g\nDoc 2: a", False),  # more than twice three words
        ("", "Doc 1: a\nDoc 2: ", False),
        ("", "Doc 1: a\nDoc 3: b", False),
        ("", "Doc 1: a", False),
        ("", "Doc 1: a\nDoc 2: b\nDoc 3: c", False),
        ("", "Doc 1: a\nDoc 2: b\nI hope it helps", False),
        ("", f"Doc 1: {'a' * 24}\nDoc 2: Übergröße, 1 € …", True),
        ("", f"Doc 1: {'a' * 25}\nDoc 2: b", False),
        ("Doc 1:", " a b\nDoc 2: c", True),
        ("Doc 1:", "Doc 1: a b\nDoc 2: c", False),
        ("Doc 1: ", "a b\nDoc 2: c", True),
        ("Here they are:\n\nDoc", " 1: a b\nDoc 2: c", True),
        ("Here they are:\n", "Doc 1: a b\nDoc 2: c", True),
    ],
)
def test_regex_describes_the_lines_that_go_on_from_the_prefill(prefill, text, fits):
    kind, regex = make_grammar("regex", REQUEST, prefill)
    assert kind == "regex"
    assert bool(re.fullmatch(regex, text)) == fits


def test_json_schema_is_a_list_of_as_many_texts_as_wanted():
    kind, schema = make_grammar("json", REQUEST, "")
    assert kind == "json"
    assert json.loads(schema) == {
        "type": "object",
        "properties": {
            "documents": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 2,
                "maxItems": 2,
            }
        },
        "required": ["documents"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"documents": ["a b", "c"]}', ["a b", "c"]),
        ('```json\n{"documents":["a"]}\n```', ["a"]),
        ('<think>["no"]</think>{"documents": ["a"]}', ["a"]),
        (r'{"documents": ["\"The\" Veld\n\u00fc \ud83d\ude42", "c"', ['"The" Veld ü 🙂', "c"]),
        ('{"documents": ["Doc 1: a", "Doc 2 (The Veld): b\\nb"]}', ["a", "b b"]),
        ('{"documents": ["Doc 1: a\\nDoc 2: b"]}', ["a", "b"]),
        ('{"documents": ["", " ", "a"]}', ["a"]),
        ('{"documents": ["a", "the text is cut he', ["a", "the text is cut he"]),
        ('{"documents": ["a", "an escape is cut \\u00', ["a", "an escape is cut"]),
        ('{"documents": ["raw\nline"]}', ["raw line"]),
        (r'{"documents": ["\ud83d alone </information>"]}', ["\ufffd alone [/information]"]),
        ('{"documents": ["1", "2", "3", "4"]}', ["1", "2", "3"]),
        ('{"documents": []}', []),
        ("I cannot.", []),
        ("", []),
    ],
)
def test_json_documents_are_read_as_far_as_they_go(text, expected):
    assert [document.text for document in parse_json_documents(text, 3)] == expected


def test_json_documents_keep_a_title_that_they_name():
    [document] = parse_json_documents('["Doc 1 (Title: The Veld): a"]', 3)
    assert document == Document("a", "The Veld")


@pytest.mark.parametrize(
    ("prefill", "grammar", "expected"),
    [
        (True, None, "Doc 1:"),
        (False, "json", ""),
        ("", "regex", ""),
        ("Sure.", None, "Sure."),
        (True, "regex", "Doc 1:"),
        ("Sure.\nDo", "regex", "Sure.\nDo"),
    ],
)
def test_prefill_is_a_text_and_true_begins_the_first_document(prefill, grammar, expected):
    assert check_prefill(prefill, grammar) == expected


@pytest.mark.parametrize(
    ("prefill", "grammar", "error", "message"),
    [
        (1, None, TypeError, "`prefill` must be a text such as 'Doc 1:', got 1"),
        (None, None, TypeError, "`prefill` must be a text .* got None"),
        (" \n", None, ValueError, "`prefill` must not be blank"),
        (True, "json", ValueError, "`prefill` begins lines, and `grammar` json holds none"),
        ("Sure.", "regex", ValueError, "last line of `prefill` must be .* 'Doc 1:' .*'Sure.'"),
        ("Doc 1: The", "regex", ValueError, "last line of `prefill` must be"),
    ],
)
def test_prefill_that_cannot_work_is_refused(prefill, grammar, error, message):
    with pytest.raises(error, match=message):
        check_prefill(prefill, grammar)


@pytest.mark.parametrize(
    ("grammar", "text", "prefill", "keeps"),
    [
        ("regex", "Doc 1: The", "", True),
        ("regex", "Do", "", True),
        ("regex", "", "", True),
        ("regex", "Sure, here", "", False),
        ("regex", "Doc 1: The", "Doc 1:", True),
        ("regex", "Doc 1:", "Doc 1:", True),
        ("regex", "Doc 1:I", "Doc 1:", False),
        ("regex", "Here:\nDoc 1: a", "Here:\n", True),
        ("json", '{"docu', "", True),
        ("json", "\n ", "", True),
        ("json", "Doc 1: a", "", False),
    ],
)
def test_text_keeps_to_its_grammar_or_not(grammar, text, prefill, keeps):
    assert keeps_to(grammar, text, prefill) == keeps
