"""Where questions come from: the embedded world, a file, or the user's own objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from zs_env.errors import MissingDependencyError, QuestionSourceError
from zs_env.files import check_file, read_jsonl
from zs_env.questions import SPLITS, Question, QuestionSet, QuestionSource
from zs_env.world import load_world

FILE_SUFFIXES = (".jsonl", ".parquet")


def load_questions(
    questions: str | Path | QuestionSource | Sequence[Question],
    split: str = "train",
    world_seed: int = 0,
    world_size: str = "small",
) -> QuestionSource:
    """Find the questions that ``questions`` stands for.

    Args:
        questions: ``"world"``, the embedded world; the path of a ``.jsonl`` or ``.parquet`` file
            with the columns ``question``, ``answers`` or ``golden_answers``, and optionally
            ``id`` (other columns become metadata); a sequence of `Question`; or a `QuestionSource`.
        split: ``train`` or ``test``, of the embedded world. A file or an object is one split.
        world_seed: seed of the embedded world.
        world_size: size of the embedded world.

    Raises:
        ValueError: the name or the split is unknown.
        QuestionSourceError: a file is missing or broken, an id is there twice, nothing is there.
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {split!r}.")
    if isinstance(questions, str | Path):
        if str(questions) == "world":
            return load_world(world_seed, world_size).questions(split)
        return _load_file(Path(questions))
    if isinstance(questions, Mapping):
        raise TypeError("`questions` must be a sequence of zs_env.Question, got a mapping.")
    if isinstance(questions, QuestionSource):
        return questions
    return QuestionSet(questions)


def _load_file(path: Path) -> QuestionSet:
    if path.suffix not in FILE_SUFFIXES:
        raise ValueError(
            f"`questions` must be 'world', a path that ends in {' or '.join(FILE_SUFFIXES)}, or "
            f"a sequence of zs_env.Question, got {str(path)!r}."
        )
    check_file(path, QuestionSourceError)
    return _read_file(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read_file(path: Path, modified_ns: int) -> QuestionSet:
    """Read and check a file once, however many environments ask for it."""
    jsonl = path.suffix == ".jsonl"
    rows = read_jsonl(path, QuestionSourceError) if jsonl else _read_parquet(path)
    questions: list[Question] = []
    for place, row in rows:
        try:
            questions.append(_to_question(row, default_id=f"{path.stem}-{len(questions)}"))
        except ValueError as error:
            raise QuestionSourceError(f"{place}: {error}") from None
    return QuestionSet(questions, name=str(path))


def _read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
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


def _to_question(row: dict[str, Any], default_id: str) -> Question:
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
        metadata=extra,
    )
