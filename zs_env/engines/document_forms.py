"""Forms of the documents that a simulation LLM writes: what holds it to one, and how it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice

from zs_env.documents import MAX_WORD_CHARS, Document, SearchRequest, clean_text
from zs_env.llm import Grammar

GRAMMARS = ("regex", "json")
"""Grammars by name: lines that a regular expression describes, or JSON with a schema."""

FIRST_DOCUMENT = "Doc 1:"
"""Beginning of the lines that are asked for."""

DOCUMENTS_KEY = "documents"
"""Key of the list of documents in JSON."""

LONGEST = 2
"""Most words of a document with the grammar regex, as a multiple of the words that are wanted."""

THOUGHT_END = "</think>"
"""End of a reasoning model's thoughts; the text before it is not read."""

_START = f"{FIRST_DOCUMENT} "

_WORD = rf"\S{{1,{MAX_WORD_CHARS}}}"

_DOCUMENT = re.compile(
    r"[\s*#>-]*doc(?:ument)?\s*#?\d{1,6}\s*"
    r"(?:\((?:title:)?([^()]{0,200}(?:\([^()]{0,200}\)[^()]{0,200}){0,2})\)\s*)?[*_]{0,2}:[*_]{0,2}(.*)",
    re.IGNORECASE,
)

_JSON_STRING = re.compile(r'"((?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"?')


def check_prefill(prefill: str | bool, grammar: str | None) -> str:
    """Return the beginning of each message, "" for none; True stands for ``Doc 1:``.

    Raises:
        TypeError: it is neither a text nor a truth value.
        ValueError: it is blank, or the grammar cannot go on from it.
    """
    if isinstance(prefill, bool):
        prefill = FIRST_DOCUMENT if prefill else ""
    if not isinstance(prefill, str):
        raise TypeError(f"`prefill` must be a text such as {FIRST_DOCUMENT!r}, got {prefill!r}.")
    if prefill and not prefill.strip():
        raise ValueError(f"`prefill` must not be blank, got {prefill!r}.")
    if prefill and grammar == "json":
        raise ValueError("`prefill` begins lines, and `grammar` json holds none: leave out one.")
    if grammar == "regex" and not _START.startswith(_last_line(prefill)):
        raise ValueError(
            f"with `grammar` regex, the last line of `prefill` must be a part of "
            f"{FIRST_DOCUMENT!r} from its beginning, got {prefill!r}."
        )
    return prefill


def make_grammar(name: str, request: SearchRequest, prefill: str) -> Grammar:
    """Return the grammar ``name`` of what answers ``request``, after ``prefill``."""
    if name == "json":
        return Grammar("json", json.dumps(_json_schema(request.top_k)))
    lines = _lines_regex(request.top_k, LONGEST * request.document_words)
    return Grammar("regex", lines[len(_last_line(prefill)) :])


def keeps_to(grammar: str, text: str, prefill: str) -> bool:
    """Return whether ``text``, which begins with ``prefill``, keeps to ``grammar`` so far."""
    if grammar == "json":
        return text.strip()[:1] in ("", "{")
    line = text[len(prefill) - len(_last_line(prefill)) :]
    return _START.startswith(line[: len(_START)])


def parse_documents(text: str, top_k: int) -> list[Document]:
    """Return the first ``top_k`` documents of ``text``, cleaned; empty ones do not count.

    A line that begins with ``Doc 1:`` or ``Doc 1 (title):``, with any number, begins a document. A
    title may hold parentheses, but none within others.
    The lines below belong to it, up to an empty one. ``Doc 1:`` within a line begins nothing. The
    thoughts of a reasoning model are left out.
    """
    text = text.rpartition(THOUGHT_END)[2]
    return _first(
        (
            Document(clean_text(" ".join(lines)), clean_text(title))
            for title, lines in _blocks(text)
        ),
        top_k,
    )


def parse_json_documents(text: str, top_k: int) -> list[Document]:
    """Return the first ``top_k`` documents of a JSON list, cleaned; empty ones do not count.

    A list that was cut off is read as far as it goes. Strings that begin with ``Doc 1:`` are read
    as by `parse_documents`.
    """
    strings = text.rpartition(THOUGHT_END)[2].partition("[")[2]
    return _first(_documents_of_strings(strings, top_k), top_k)


def _documents_of_strings(strings: str, top_k: int) -> Iterator[Document]:
    for match in _JSON_STRING.finditer(strings):
        text = json.loads(f'"{match[1]}"', strict=False)
        yield from parse_documents(text, top_k) or [Document(clean_text(text))]


def _first(documents: Iterable[Document], top_k: int) -> list[Document]:
    return list(islice((document for document in documents if document.text), top_k))


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the title and the lines of each document of ``text``."""
    title, lines, inside, filled = "", [""], False, False
    for line in text.splitlines():
        if match := _DOCUMENT.match(line):
            yield title, lines
            title, lines, inside = match[1] or "", [match[2]], True
            filled = bool(match[2].strip())
        elif line.strip() and inside:
            lines.append(line)
            filled = True
        elif filled:
            inside = False
    yield title, lines


def _lines_regex(num_documents: int, most_words: int) -> str:
    """Describe lines ``Doc 1: …``; a bound of characters takes vLLM too long to compile."""
    document = rf"{_WORD}( {_WORD}){{0,{most_words - 1}}}"
    return "\n".join(f"Doc {number}: {document}" for number in range(1, num_documents + 1))


def _json_schema(num_documents: int) -> dict[str, object]:
    documents = {
        "type": "array",
        "items": {"type": "string"},
        "minItems": num_documents,
        "maxItems": num_documents,
    }
    return {
        "type": "object",
        "properties": {DOCUMENTS_KEY: documents},
        "required": [DOCUMENTS_KEY],
        "additionalProperties": False,
    }


def _last_line(text: str) -> str:
    return text.rpartition("\n")[2]
