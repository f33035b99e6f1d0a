"""Questions, and where they come from: the embedded world, a file, or the user's own objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, overload, runtime_checkable

from zs_env.errors import MissingDependencyError, QuestionSourceError
from zs_env.files import read_jsonl

SPLITS = ("train", "test")
FILE_SUFFIXES = (".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what counts as right.

    Attributes:
        id: names the question; unique in its source.
        text: what the policy reads.
        golden_answers: at least one accepted answer. A single string may be passed.
        metadata: what else is known, such as ``{"hops": 2}``; not compared.

    Raises:
        ValueError: the text is blank, or no golden answer has any text.
    """

    id: str
    text: str
    golden_answers: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Check the fields, and make ``golden_answers`` a tuple."""
        golden = self.golden_answers
        golden = (golden,) if isinstance(golden, str) else tuple(golden)
        object.__setattr__(self, "golden_answers", golden)
        for name, value in (("id", self.id), ("text", self.text), *(("answer", g) for g in golden)):
            if not isinstance(value, str):
                raise ValueError(f"a question's {name} must be a string, got {value!r}.")
        if not self.text.strip():
            raise ValueError(f"the text of question {self.id!r} is empty.")
        if not any(answer.strip() for answer in golden):
            raise ValueError(f"question {self.id!r} has no golden answer; it needs at least one.")


@runtime_checkable
class QuestionSource(Protocol):
    """Anything that holds questions in a fixed order and finds one by its id."""

    def __len__(self) -> int:
        """Number of questions."""

    def __getitem__(self, index: int, /) -> Question:
        """The question at ``index``, from 0."""

    def get(self, question_id: str) -> Question:
        """The question called ``question_id``; KeyError if there is none."""


class QuestionSet(Sequence[Question]):
    """Questions held in memory.

    Args:
        questions: in the order to keep.
        name: where they come from, for error messages.

    Raises:
        QuestionSourceError: there are none, or two share an id.
    """

    def __init__(self, questions: Iterable[Question], name: str = "questions") -> None:
        self._questions = tuple(questions)
        self._by_id: dict[str, Question] = {}
        if not self._questions:
            raise QuestionSourceError(f"{name}: there are no questions.")
        for question in self._questions:
            if not isinstance(question, Question):
                raise TypeError(
                    f"{name}: expected zs_env.Question objects, got {type(question).__name__}."
                )
            if question.id in self._by_id:
                raise QuestionSourceError(f"{name}: two questions have the id {question.id!r}.")
            self._by_id[question.id] = question

    def __len__(self) -> int:
        """Number of questions."""
        return len(self._questions)

    @overload
    def __getitem__(self, index: int) -> Question: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Question, ...]: ...
    def __getitem__(self, index: int | slice) -> Question | tuple[Question, ...]:
        """The question at ``index``, or several for a slice."""
        return self._questions[index]

    def get(self, question_id: str) -> Question:
        """The question called ``question_id``.

        Raises:
            KeyError: there is none.
        """
        return self._by_id[question_id]


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
            from zs_env.world import load_world

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
    if not path.is_file():
        raise QuestionSourceError(f"{path}: there is no such file.")
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
