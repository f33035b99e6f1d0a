"""Questions in a ``.jsonl`` or ``.parquet`` file, and what a row of them must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from zs_env.errors import MissingDependencyError, QuestionSourceError
from zs_env.files import check_file, read_jsonl
from zs_env.questions import Question, QuestionSet

FILE_SUFFIXES = (".jsonl", ".parquet")

Row = dict[str, Any]


def load_file(path: Path) -> QuestionSet:
    """Return the questions of a file, which is read once for all environments.

    Raises:
        QuestionSourceError: it is missing or broken, two questions share an id, or there is none.
    """
    check_file(path, QuestionSourceError)
    return _load_file(path.resolve(), path.stat().st_mtime_ns)


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a file, each with its place.

    Raises:
        MissingDependencyError: it ends in ``.parquet``, and pyarrow is not installed.
        QuestionSourceError: it is broken.
    """
    if path.suffix == ".jsonl":
        return read_jsonl(path, QuestionSourceError)
    return _read_parquet(path)


def make_questions(
    name: str, rows: Iterator[tuple[str, Row]], make: Callable[[Row, int], Question]
) -> QuestionSet:
    """Make the question of each row.

    Args:
        name: name of their source, for messages.
        rows: rows, each with its place.
        make: makes a question of a row and its number, from 0; ValueError if it is broken.

    Raises:
        QuestionSourceError: a row is broken, two questions share an id, or there is none.
    """
    questions: list[Question] = []
    for place, row in rows:
        try:
            questions.append(make(row, len(questions)))
        except ValueError as error:
            raise QuestionSourceError(f"{place}: {error}") from None
    return QuestionSet(questions, name=name)


def make_question(
    row: Row, default_id: str, describe: Callable[[Row], Mapping[str, Any]] = dict
) -> Question:
    """Make the question of a row with ``question``, ``answers`` or ``golden_answers``, and ``id``.

    Args:
        row: fields by name.
        default_id: id of a question whose row has none.
        describe: makes the metadata of the other fields.

    Raises:
        ValueError: a field is missing or has the wrong type.
    """
    extra = dict(row)
    text = extra.pop("question", None)
    golden = extra.pop("golden_answers", None)
    answers = extra.pop("answers", None)
    golden = answers if golden is None else golden
    if text is None or golden is None:
        raise ValueError(
            "expected the fields `question` and `answers` (or `golden_answers`), neither null, "
            f"got {', '.join(name for name in row if row[name] is not None) or 'none'}."
        )
    if not isinstance(golden, str | list):
        raise ValueError(f"the answers must be a list of strings, got {golden!r}.")
    question_id = extra.pop("id", None)
    return Question(
        id=default_id if question_id is None else str(question_id),
        text=text,
        golden_answers=golden,  # type: ignore[arg-type]  # made a tuple by Question
        metadata=describe(extra),
    )


@lru_cache(maxsize=8)
def _load_file(path: Path, modified_ns: int) -> QuestionSet:
    # `modified_ns` is part of the cache's key, so that a changed file is read again.
    def make(row: Row, number: int) -> Question:
        return make_question(row, default_id=f"{path.stem}-{number}")

    return make_questions(str(path), read_rows(path), make)


def _read_parquet(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError.for_extra("A .parquet file", "pyarrow", "data") from error
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise QuestionSourceError(f"{path}: not a readable parquet file: {error}.") from None
    for number, row in enumerate(rows, start=1):
        yield f"{path}: row {number}", row
