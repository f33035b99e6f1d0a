"""One played question, as it is kept: all that scores, tables and the viewer need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from zs_env.errors import RecordError


class RecordKey(NamedTuple):
    """What tells one record of a run from the others.

    Attributes:
        dataset: the questions, as they were named: ``hotpotqa,sample=500``.
        engine: the search engine, as it was named.
        question_id: question.
        repeat: number of the repeat, from 0.
    """

    dataset: str
    engine: str
    question_id: str
    repeat: int


class RecordSegment(NamedTuple):
    """A stretch of the transcript with one author.

    Attributes:
        role: value of a `zs_env.episode.Role`: ``prompt``, ``policy``, ``information`` or
            ``correction``.
        text: the text.
        noisy: whether these are documents that were asked not to help.
    """

    role: str
    text: str
    noisy: bool = False


@dataclass(frozen=True)
class RecordSearch:
    """A search and what it found.

    Attributes:
        turn: index of the turn that searched, from 0.
        query: what was asked.
        documents: title and text of each document, cleaned, and cut as for a reader.
        noisy: whether noise was asked for.
        failure: why there are no documents; None if there are.
    """

    turn: int
    query: str
    documents: tuple[tuple[str, str], ...] = ()
    noisy: bool = False
    failure: str | None = None


@dataclass(frozen=True)
class Record:
    """One played question.

    Attributes:
        dataset: see `RecordKey`.
        engine: see `RecordKey`.
        question_id: see `RecordKey`.
        repeat: see `RecordKey`.
        question: text of the question.
        golden_answers: its golden answers.
        answer: final answer; None if there is none.
        scores: score of the answer by name of the metric: 0.0 without an answer, and none at all of
            a failure.
        termination: why it ended: a value of `zs_env.episode.Termination`, or ``model_failed``.
        failure: why the engine or the model failed; None if they did not.
        segments: the transcript.
        searches: the searches, in order.
        turns: turns that the model took.
        invalid_turns: those without an action.
        prompt_tokens: tokens that the model read, summed over its requests.
        completion_tokens: tokens that the model wrote.
        seconds: time from beginning to end.
        noise_probability: chance that a search got noisy documents, in [0, 1].
        metadata: of the question, such as ``hops``.
        benchmark: tier of the benchmark that it was played for: ``world-v1,tier=hard``; None if it
            was for none.
    """

    dataset: str
    engine: str
    question_id: str
    repeat: int
    question: str
    golden_answers: tuple[str, ...]
    answer: str | None
    scores: Mapping[str, float]
    termination: str
    failure: str | None = None
    segments: tuple[RecordSegment, ...] = ()
    searches: tuple[RecordSearch, ...] = ()
    turns: int = 0
    invalid_turns: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    noise_probability: float = 0.0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    benchmark: str | None = None

    @property
    def key(self) -> RecordKey:
        """What tells it from the other records of its run."""
        return RecordKey(self.dataset, self.engine, self.question_id, self.repeat)

    @property
    def failed(self) -> bool:
        """Whether the engine or the model failed: it says nothing of the agent."""
        return self.failure is not None

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of JSON, which `from_json` reads."""
        return {
            **vars(self),
            "segments": [segment._asdict() for segment in self.segments],
            "searches": [vars(search) for search in self.searches],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Record:
        """Read what `as_json` returned.

        Raises:
            RecordError: a field is missing or unknown, or has the wrong type.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise RecordError(f"unknown fields {', '.join(unknown)}")
        try:
            read = {
                **values,
                "golden_answers": tuple(values["golden_answers"]),
                "segments": tuple(RecordSegment(**each) for each in values["segments"]),
                "searches": tuple(_search(each) for each in values["searches"]),
            }
            record = cls(**read)
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"not a record: {type(error).__name__}: {error}") from None
        for name, types in _TYPES.items():
            value = values.get(name, getattr(record, name))
            if not isinstance(value, types):
                raise RecordError(f"`{name}` has the wrong type: {value!r:.40}")
        return record


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("dataset", "engine", "question_id", "question", "termination"), (str,)),
    **dict.fromkeys(("repeat", "turns", "invalid_turns"), (int,)),
    **dict.fromkeys(("prompt_tokens", "completion_tokens"), (int,)),
    **dict.fromkeys(("seconds", "noise_probability"), (int, float)),
    **dict.fromkeys(("answer", "failure", "benchmark"), (str, type(None))),
    **dict.fromkeys(("golden_answers", "segments", "searches"), (list, tuple)),
    **dict.fromkeys(("scores", "metadata"), (dict,)),
}


def _search(values: Mapping[str, Any]) -> RecordSearch:
    documents = tuple((str(title), str(text)) for title, text in values["documents"])
    return RecordSearch(**{**values, "documents": documents})
