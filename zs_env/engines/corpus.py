"""Passages of a corpus, held in memory or read from their file on demand."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zs_env.documents import Document
from zs_env.errors import CorpusError
from zs_env.files import filled_lines, parse_line, read_jsonl

_TITLE_LINE = re.compile(r'"([^\n]*)"\r?\n(.*)', re.DOTALL)


class Passage(NamedTuple):
    """Document of a corpus, with the id in its line, or else its number, counted from 0."""

    id: str
    document: Document

    @property
    def searched_text(self) -> str:
        """Text that queries are matched with: the title and the text."""
        return f"{self.document.title} {self.document.text}"


class Ranked(NamedTuple):
    """Passage that was found, and its score: the higher, the better."""

    passage: Passage
    score: float


class Passages(ABC):
    """Corpus whose passages can be read by number, counted from 0."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of passages."""

    @abstractmethod
    def __iter__(self) -> Iterator[Passage]:
        """Iterate over all passages, in order."""

    @abstractmethod
    def read(self, numbers: Sequence[int]) -> list[Passage]:
        """Return the passages with the given numbers. Several threads may call it at once."""


class PassageList(Passages):
    """Passages in memory.

    Args:
        passages: the passages.
    """

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._passages = list(passages)

    @classmethod
    def of(cls, documents: Iterable[Document]) -> PassageList:
        """Make a list of ``documents``, with their numbers as ids."""
        return cls(Passage(str(number), document) for number, document in enumerate(documents))

    def __len__(self) -> int:
        """Return the number of passages."""
        return len(self._passages)

    def __iter__(self) -> Iterator[Passage]:
        """Iterate over all passages, in order."""
        return iter(self._passages)

    def read(self, numbers: Sequence[int]) -> list[Passage]:
        """Return the passages with the given numbers."""
        return [self._passages[number] for number in numbers]


class PassageFile(Passages):
    """Passages that stay in their ``.jsonl`` file.

    The file is opened for each `read`: threads and forks share no position in it, and a file that
    shrinks cannot crash the program, as a memory-mapped one could.

    Args:
        path: path of the file.
        starts: byte offset of each passage's line, shape (passages,), int64; found by reading the
            file if not given.
    """

    def __init__(self, path: Path, starts: NDArray[np.int64] | None = None) -> None:
        self.path = path
        self._stamp = _stamp(path.stat())
        self.starts = _find_starts(path) if starts is None else starts

    def __len__(self) -> int:
        """Return the number of passages."""
        return len(self.starts)

    def __iter__(self) -> Iterator[Passage]:
        """Iterate over all passages, in order, one in memory at a time."""
        self.check_unchanged(self.path.stat())
        yield from read_corpus(self.path)

    def read(self, numbers: Sequence[int]) -> list[Passage]:
        """Return the passages with the given numbers.

        Raises:
            CorpusError: the file has changed since this object was made, or is missing.
        """
        passages = []
        try:
            with self.path.open("rb") as lines:
                self.check_unchanged(os.fstat(lines.fileno()))
                for number in numbers:
                    lines.seek(self.starts[number])
                    place = f"{self.path}, passage {number}"
                    fields = parse_line(place, lines.readline(), CorpusError)
                    passages.append(_parse_passage(place, fields, number))
        except OSError as error:
            raise CorpusError(f"{self.path}: the corpus cannot be read: {error}.") from error
        return passages

    def check_unchanged(self, status: os.stat_result) -> None:
        """Raise `CorpusError` if ``status`` shows that the file has changed since it was opened."""
        if _stamp(status) != self._stamp:
            raise CorpusError(
                f"{self.path}: the corpus has changed while it was in use: restart the program."
            )


def read_corpus(path: Path) -> Iterator[Passage]:
    """Yield the passages of a ``.jsonl`` file: ``text``, and optionally ``title`` and ``id``.

    ``contents`` can stand for title and text, as in the corpora of Search-R1: the title in
    quotation marks, a line break, the text.

    Raises:
        CorpusError: a line is broken, or a passage has no text.
    """
    for number, (place, fields) in enumerate(read_jsonl(path, CorpusError)):
        yield _parse_passage(place, fields, number)


def _parse_passage(place: str, fields: dict[str, Any], number: int) -> Passage:
    text, title = _text_field(place, fields, "text"), _text_field(place, fields, "title")
    if "text" not in fields:
        title, text = split_contents(_text_field(place, fields, "contents"), title)
    if not text.strip():
        raise CorpusError(f"{place}: the passage has no text.")
    passage_id = number if fields.get("id") is None else fields["id"]
    if not isinstance(passage_id, str | int):
        raise CorpusError(f"{place}: `id` must be a string or an integer, got {passage_id!r}.")
    return Passage(str(passage_id), Document(text, title))


def split_contents(contents: str, title: str = "") -> tuple[str, str]:
    """Split Search-R1's ``contents``: (title, text); without a quoted title, all is text."""
    match = _TITLE_LINE.fullmatch(contents)
    return (match[1], match[2]) if match else (title, contents)


def join_contents(document: Document) -> str:
    """Join title and text to one string, which Search-R1 calls ``contents``."""
    title = " ".join(document.title.splitlines())  # a line break would end it
    return f'"{title}"\n{document.text}'


def _text_field(place: str, fields: dict[str, Any], name: str) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str):
        raise CorpusError(f"{place}: `{name}` must be a string, got {value!r}.")
    return value


def _find_starts(path: Path) -> NDArray[np.int64]:
    starts = array("q", (start for _, start, _ in filled_lines(path)))
    return np.array(starts, np.int64)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
