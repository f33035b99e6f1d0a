"""What a search engine is asked and what it returns, and the cleaning of untrusted text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zs_env.actions import TAG_NAMES
from zs_env.errors import SearchFailure

MAX_WORD_CHARS = 24

# `\s*/?\s*` would match n blanks in n ways, and take quadratic time where no tag follows.
_TAG = re.compile(rf"<(\s*(?:/\s*)?(?:{'|'.join(TAG_NAMES)})\s*)>", re.IGNORECASE)
_PRINTABLE = bytes(range(0x20, 0x7F))
_UNSAFE = re.compile("[\x00-\x08\x0e-\x1b\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """One document, as the engine wrote it: a driver cleans and shortens it before showing it."""

    text: str
    title: str = ""

    def __post_init__(self) -> None:
        """Check the fields."""
        if not (isinstance(self.text, str) and isinstance(self.title, str)):
            raise TypeError(
                f"a document's text and title must be strings, got {self.text!r}, {self.title!r}."
            )


class SearchRequest(NamedTuple):
    """One search, with all that an engine needs to answer it.

    Attributes:
        query: what the policy asked, cleaned, one line, not empty.
        question: text of the episode's question.
        golden_answers: all of them; a simulating engine is told, a real one must not look.
        noisy: True if the curriculum wants documents that do not help.
        turn: index of the turn that searched, from 0.
        top_k: number of documents wanted.
        document_words: about how many words a document should have.
        key: what random choices must be drawn from (`zs_env.keyed_random`), 64 bits.
    """

    query: str
    question: str
    golden_answers: tuple[str, ...]
    noisy: bool = False
    turn: int = 0
    top_k: int = 5
    document_words: int = 30
    key: int = 0


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Documents, best first, or why there are none to be had. No documents is a valid answer."""

    documents: tuple[Document, ...] = ()
    failure: SearchFailure | None = None

    def __post_init__(self) -> None:
        """Check the fields, and make ``documents`` a tuple."""
        documents = self.documents
        if not (
            isinstance(documents, tuple | list)
            and all(isinstance(document, Document) for document in documents)
        ):
            raise TypeError(f"`documents` must be a list of zs_env.Document, got {documents!r}.")
        object.__setattr__(self, "documents", tuple(documents))


def clean_text(text: str) -> str:
    """Make untrusted text safe to show: one line, no tag of the template, valid unicode.

    Our tags lose their angle brackets, control characters become spaces, lone surrogates become
    U+FFFD, white space is folded. Cleaning twice changes nothing. Time is linear in the length.
    """
    if _is_clean(text):
        return text
    text = _UNSAFE.sub(lambda match: " " if match[0] < "\x80" else "\ufffd", text)
    text = _TAG.sub(r"[\1]", text)
    return " ".join(text.split())


def _is_clean(text: str) -> bool:
    """Return True if cleaning would surely change nothing. Faster than cleaning."""
    return (
        text.isascii()
        and "<" not in text
        and not text.encode().translate(None, _PRINTABLE)
        and "  " not in text
        and text[:1] != " "
        and text[-1:] != " "
    )


def cut_words(text: str, max_words: int) -> str:
    """Return the first ``max_words`` words of single-spaced ``text``.

    A script without spaces is bounded too: by `MAX_WORD_CHARS` characters for each word allowed.
    """
    if len(text) > max_words * MAX_WORD_CHARS:
        text = text[: max_words * MAX_WORD_CHARS].rstrip(" ")
    if text.count(" ") < max_words:
        return text
    return " ".join(text.split(" ", max_words)[:max_words])


def cut_document(document: Document, max_words: int) -> Document:
    """Return ``document`` with text and title cut at ``max_words`` words each."""
    return Document(cut_words(document.text, max_words), cut_words(document.title, max_words))


def clean_documents(documents: Sequence[Document], max_words: int) -> Sequence[Document]:
    """Return ``documents`` with texts and titles cleaned and cut at ``max_words`` words each."""
    if _are_clean(documents, max_words):
        return documents
    return [
        cut_document(Document(clean_text(document.text), clean_text(document.title)), max_words)
        for document in documents
    ]


def _are_clean(documents: Sequence[Document], max_words: int) -> bool:
    """Check all documents at once, if they are short and have no titles."""
    for document in documents:
        if document.title or len(document.text) >= 2 * max_words:
            return False
    # Joined by a space, a blank at an end shows as a double one.
    return _is_clean(" ".join([document.text for document in documents]))
