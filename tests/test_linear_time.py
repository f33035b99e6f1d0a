"""Whatever reads untrusted text takes time that is linear in its length.

A regular expression runs outside the reach of deadlines and of Ctrl-C: one document of 16,000
characters once froze the process for 25 seconds. Each text below takes hours in quadratic time, and
milliseconds in linear time, so a generous limit tells the two apart on any machine.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from zs_env.actions import ANY_TAG, close_turn, ends_turn, find_action
from zs_env.documents import Document, clean_documents, clean_text, cut_words
from zs_env.engines.corpus import split_contents
from zs_env.engines.document_forms import parse_documents, parse_json_documents
from zs_env.prompts import PROMPT_BASED, SearchRequest, check_simulation_template, render_simulation
from zs_env.rewards import all_scores, may_contain
from zs_env.world import load_world
from zs_env.world.linker import read_query

ROOT = Path(__file__).parent.parent
LENGTH = 200_000
LIMIT_S = 120.0

READERS: dict[str, Callable[[str], object]] = {
    "clean_text": clean_text,
    "clean_documents": lambda text: clean_documents([Document(text, text)], 120),
    "cut_words": lambda text: cut_words(text, 120),
    "find_action": find_action,
    "ends_turn": ends_turn,
    "close_turn": close_turn,
    "ANY_TAG": ANY_TAG.findall,
    "parse_documents": lambda text: parse_documents(text, 5),
    "parse_json_documents": lambda text: parse_json_documents(f"[{text}", 5),
    "split_contents": split_contents,
    "all_scores": lambda text: all_scores(text, ["the Pale Sea", "a a a b"]),
    "may_contain": lambda text: may_contain(text, ["the Pale Sea", "a a a b"]),
    "render_simulation": lambda text: render_simulation(
        PROMPT_BASED, SearchRequest(text, text, (text,)), text
    ),
    "check_simulation_template": lambda text: check_simulation_template(
        "{query}{quality}" + text, "template"
    ),
    "read_query": lambda text: read_query(load_world(0, "tiny"), text),
}

FAMILIES: dict[str, Callable[[int], str]] = {
    "blanks in a tag": lambda n: "<" + " " * n,
    "blanks behind a name": lambda n: "<search" + " " * n,
    "blanks around a slash": lambda n: "<" + " " * n + "/" + " " * n + "x",
    "blanks in a closing tag": lambda n: "</search" + "\t\n" * n,
    "openings": lambda n: "<" * n,
    "quotes": lambda n: '"' * n,
    "quotes and wrong escapes": lambda n: '"\\x' * n,
    "open string": lambda n: '"' + "\\" * n,
    "openings apart": lambda n: "< " * n,
    "open thoughts": lambda n: "<think>" * n + "<search>a</search>",
    "open thoughts behind a closed one": lambda n: (
        "<think></think>" + "<think>" * n + "<search>a</search>"
    ),
    "closed thoughts": lambda n: "<think></think>" * n + "<search>a</search>",
    "ends of thoughts": lambda n: "</think>" * n + "<search>a</search>",
    "open searches": lambda n: "<search>" * n,
    "open elements in turn": lambda n: "<search><answer>" * n,
    "thoughts in a search": lambda n: "<search>" + "<think>a</think>" * n + "</search>",
    "tags in an answer": lambda n: "<answer>" + "<search>" * n + "</answer>",
    "marks before a document": lambda n: " *#>-" * n + "x",
    "blanks before a document": lambda n: " " * n + "doc",
    "blanks behind a number": lambda n: "Doc 1" + " " * n + "x",
    "blanks around a title": lambda n: "Doc 1" + " " * n + "(title)" + " " * n + "x",
    "open title": lambda n: "Doc 1 (" + "a" * n,
    "long document, empty lines": lambda n: "Doc 1: " + "x" * 5 * n + "\n" * 5 * n,
    "blank document, empty lines": lambda n: "Doc 1:" + " " * 5 * n + "\n" * 5 * n,
    "documents": lambda n: "Doc 1: a\n" * n,
    "empty documents": lambda n: "Doc 1:\n" * n,
    "quotation marks": lambda n: '"' * n,
    "quoted lines": lambda n: '"a"\r' * n,
    "open fields": lambda n: "{" * n,
    "open field": lambda n: "{" + "a" * n,
    "articles": lambda n: "a " * n,
    "one word": lambda n: "a" * n,
    "punctuation": lambda n: ".-" * n,
    "controls": lambda n: "\x00" * n,
    "surrogates": lambda n: "\ud800" * n,
}
"""Name -> a text of about ``n`` characters, or some times as many."""


def read_all(reader: str) -> None:
    """Let ``reader`` read a long text of each family."""
    for family in FAMILIES:
        READERS[reader](FAMILIES[family](LENGTH))


@pytest.mark.parametrize("reader", READERS)
def test_untrusted_text_is_read_in_linear_time(reader):
    """In a process of its own: a regular expression can be ended in no other way."""
    program = f"from tests.test_linear_time import read_all; read_all({reader!r})"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert result.returncode == 0, result.stderr
