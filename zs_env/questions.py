"""Questions, and sources that hold them in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict, overload, runtime_checkable

from zs_env.errors import QuestionSourceError

SPLITS = ("train", "test")


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its golden answers.

    Attributes:
        id: identifier of the question, unique in its source.
        text: text that the policy reads.
        golden_answers: accepted answers, at least one. A single string may be passed.
        metadata: further facts, such as ``{"hops": 2}``; not compared.

    Raises:
        ValueError: the text is blank, no golden answer has any text, or one is no string.
        TypeError: the golden answers are neither a string nor several, or ``metadata`` is no
            mapping.
    """

    id: str
    text: str
    golden_answers: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Check the fields, and make ``golden_answers`` a tuple."""
        golden = _as_tuple(self.golden_answers)
        object.__setattr__(self, "golden_answers", golden)  # the class is frozen
        for name, value in (("id", self.id), ("text", self.text), *(("answer", g) for g in golden)):
            if not isinstance(value, str):
                raise ValueError(f"a question's {name} must be a string, got {value!r}.")
        if not self.text.strip():
            raise ValueError(f"the text of question {self.id!r} is empty.")
        if not any(answer.strip() for answer in golden):
            raise ValueError(f"question {self.id!r} has no golden answer; it needs at least one.")
        if not isinstance(self.metadata, Mapping):
            raise TypeError(f"a question's metadata must be a dict, got {self.metadata!r}.")


def _as_tuple(golden_answers: object) -> tuple[Any, ...]:
    if isinstance(golden_answers, str):
        return (golden_answers,)
    if isinstance(golden_answers, Iterable) and not isinstance(golden_answers, bytes | Mapping):
        return tuple(golden_answers)
    raise TypeError(
        f"a question's golden answers must be a string or a list of strings, got "
        f"{golden_answers!r}."
    )


@runtime_checkable
class QuestionSource(Protocol):
    """Questions in a fixed order, each found by its id."""

    def __len__(self) -> int:
        """Return the number of questions."""

    def __getitem__(self, index: int, /) -> Question:
        """Return the question at ``index``, from 0."""

    def get(self, question_id: str) -> Question:
        """Return the question with the id ``question_id``; KeyError if there is none."""


class QuestionRow(TypedDict):
    """A question as a trainer's data set holds it.

    Attributes:
        question_id: id of the question, by which its episodes are asked for.
        question: text.
        golden_answers: accepted answers.
    """

    question_id: str
    question: str
    golden_answers: list[str]


def question_rows(source: QuestionSource) -> Iterator[QuestionRow]:
    """Yield the rows of a trainer's data set, in the order of ``source``."""
    for index in range(len(source)):
        question = source[index]
        yield QuestionRow(
            question_id=question.id,
            question=question.text,
            golden_answers=list(question.golden_answers),
        )


class QuestionSet(Sequence[Question]):
    """Questions held in memory.

    Args:
        questions: the questions, in the order to keep.
        name: name of their source, for error messages.

    Raises:
        QuestionSourceError: there is no question, or two share an id.
        TypeError: an object is not a `Question`.
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
        """Return the number of questions."""
        return len(self._questions)

    @overload
    def __getitem__(self, index: int) -> Question: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Question, ...]: ...
    def __getitem__(self, index: int | slice) -> Question | tuple[Question, ...]:
        """Return the question at ``index``, or several for a slice."""
        return self._questions[index]

    def get(self, question_id: str) -> Question:
        """Return the question with the id ``question_id``.

        Raises:
            KeyError: no question has that id.
        """
        return self._by_id[question_id]
