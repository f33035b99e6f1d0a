"""One search of a kept episode, as a line of JSON: what is judged, and what pairs are made of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from zs_env.documents import Document
from zs_env.errors import SimulationDataError
from zs_env.evaluation.record import Record, RecordSearch
from zs_env.evaluation.store import RECORDS, read_records
from zs_env.files import check_file, read_jsonl, replace_file
from zs_env.question_sources import are_about_the_world, world_of

SEARCHES, JUDGED = "searches.jsonl", "judged.jsonl"
"""Files of a folder with records: its searches, and the same with verdicts."""

FAILED = "the engine failed"
NOTHING_FOUND = "no documents"
NOISE = "noise was asked for"


@dataclass(frozen=True)
class CollectedSearch:
    """A search, with what its episode was about and how it ended.

    Attributes:
        question_id: question of the episode.
        question: text of the question.
        golden_answers: its golden answers.
        turn: index of the turn that searched, from 0.
        query: what was asked.
        documents: title and text of each document, as a policy can read them.
        engine: engine that found them, as it was named.
        dataset: questions, as they were named.
        repeat: number of the repeat, from 0.
        world: seed and size of the embedded world that it is about; None if it is about none.
        metadata: of the question, such as ``hops``.
        scores: scores of the episode's answer, by metric.
        termination: why the episode ended.
        verdicts: whether the documents are useful, by name of the judge; of one that gave no
            verdict there is none.
        judged_top_k: number of first documents that a verdict is on, by name of the judge; of one
            that is on all documents there is none.
    """

    question_id: str
    question: str
    golden_answers: tuple[str, ...]
    turn: int
    query: str
    documents: tuple[Document, ...]
    engine: str = ""
    dataset: str = ""
    repeat: int = 0
    world: tuple[int, str] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)
    scores: Mapping[str, float] = field(default_factory=dict, compare=False)
    termination: str = ""
    verdicts: Mapping[str, bool] = field(default_factory=dict, compare=False)
    judged_top_k: Mapping[str, int] = field(default_factory=dict, compare=False)

    @cached_property
    def key(self) -> str:
        """Hash of what a judge sees and of the place of the search: the same in every file."""
        parts = (
            self.dataset, self.engine, self.question_id, self.repeat, self.turn, self.question,
            self.golden_answers, self.query, [(each.title, each.text) for each in self.documents],
        )  # fmt: skip
        return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()

    def first(self, top_k: int | None) -> CollectedSearch:
        """Return the search with its first ``top_k`` documents; None for all of them."""
        if top_k is None or top_k >= len(self.documents):
            return self
        return replace(self, documents=self.documents[:top_k])

    def judged(
        self, verdicts: Mapping[str, bool], top_k: Mapping[str, int] | None = None
    ) -> CollectedSearch:
        """Return the search with more verdicts, which take the place of those of the same judges.

        Args:
            verdicts: verdicts by name of the judge.
            top_k: number of first documents that they are on; by default all of them.
        """
        cuts = {name: cut for name, cut in self.judged_top_k.items() if name not in verdicts}
        cuts |= {n: cut for n, cut in (top_k or {}).items() if cut < len(self.documents)}
        return replace(self, verdicts={**self.verdicts, **verdicts}, judged_top_k=cuts)

    def without_verdict(self, judge: str) -> CollectedSearch:
        """Return the search without the verdict of ``judge``."""
        verdicts, cuts = dict(self.verdicts), dict(self.judged_top_k)
        verdicts.pop(judge, None)
        cuts.pop(judge, None)
        return replace(self, verdicts=verdicts, judged_top_k=cuts)

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of JSON, which `from_json` reads."""
        values = {name: getattr(self, name) for name in _FIELDS}
        values["documents"] = [{"title": d.title, "text": d.text} for d in self.documents]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CollectedSearch:
        """Read what `as_json` returned. Fields that are not known are left out.

        Raises:
            SimulationDataError: a field is missing, or has the wrong type.
        """
        for name, kind in _TYPES.items():
            if not isinstance(values.get(name), kind) or isinstance(values[name], bool):
                raise SimulationDataError(
                    f"`{name}` must be {_NAMES[kind]}, got {values.get(name)!r:.40}"
                )
        given = {name: values[name] for name in _FIELDS if name in values}
        try:
            documents = tuple(Document(d["text"], d.get("title", "")) for d in given["documents"])
            golden = tuple(_text(answer) for answer in given["golden_answers"])
            seed_size = given.get("world")
            world = None if seed_size is None else (int(seed_size[0]), str(seed_size[1]))
            verdicts = {str(name): _truth(v) for name, v in given.get("verdicts", {}).items()}
            cuts = {str(name): int(v) for name, v in given.get("judged_top_k", {}).items()}
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise SimulationDataError(f"{type(error).__name__}: {error}") from None
        read = {"documents": documents, "golden_answers": golden, "world": world}
        return cls(**{**given, **read, "verdicts": verdicts, "judged_top_k": cuts})


_FIELDS = (
    "question_id", "question", "golden_answers", "turn", "query", "documents", "engine", "dataset",
    "repeat", "world", "metadata", "scores", "termination", "verdicts", "judged_top_k",
)  # fmt: skip
_TYPES: dict[str, type] = {
    **dict.fromkeys(("question_id", "question", "query"), str),
    "golden_answers": list,
    "turn": int,
    "documents": list,
}
_NAMES = {str: "a text", int: "an integer", list: "a list"}


class Searches(NamedTuple):
    """Searches of a source, and what of it is none.

    Attributes:
        searches: the searches, in order.
        left_out: number of searches that are left out, by reason.
        episodes: number of episodes that they are of; 0 if the source does not say.
    """

    searches: list[CollectedSearch]
    left_out: Counter[str]
    episodes: int = 0


def searches_of(records: Iterable[Record]) -> Searches:
    """Return the searches of ``records`` that found documents without noise, in order."""
    searches: list[CollectedSearch] = []
    left_out: Counter[str] = Counter()
    episodes = 0
    for record in records:
        episodes += 1
        about = are_about_the_world(record.dataset)
        world = world_of(record.dataset) if about else None
        for search in record.searches:
            reason = _why_left_out(search)
            if reason is not None:
                left_out[reason] += 1
                continue
            searches.append(
                CollectedSearch(
                    question_id=record.question_id,
                    question=record.question,
                    golden_answers=record.golden_answers,
                    turn=search.turn,
                    query=search.query,
                    documents=tuple(Document(text, title) for title, text in search.documents),
                    engine=record.engine,
                    dataset=record.dataset,
                    repeat=record.repeat,
                    world=world,
                    metadata=record.metadata,
                    scores=record.scores,
                    termination=record.termination,
                )
            )
    return Searches(searches, left_out, episodes)


def read_searches(source: Path) -> Searches:
    """Read the searches of a folder of records, or of a file with one search a line.

    Those of a folder have the verdicts that its `JUDGED` holds, if it has one.

    Raises:
        SimulationDataError: there are none, or a line is broken; the message says which.
        RecordError: a record is broken.
    """
    found = _read_folder(source) if source.is_dir() else _read_file(source)
    if not found.searches:
        reasons = listed(found.left_out)
        raise SimulationDataError(f"{source} holds no searches{reasons and f': {reasons}'}.")
    return found


def with_verdicts_of(
    searches: Iterable[CollectedSearch], judged: Iterable[CollectedSearch]
) -> list[CollectedSearch]:
    """Return ``searches`` with the verdicts on the same ones among ``judged``."""
    earlier = {search.key: search for search in judged}
    return [
        search.judged(same.verdicts, same.judged_top_k)
        if (same := earlier.get(search.key)) is not None
        else search
        for search in searches
    ]


def write_searches(path: Path, searches: Iterable[CollectedSearch]) -> None:
    """Write one search a line, at once.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    lines = (json.dumps(search.as_json(), default=str) + "\n" for search in searches)
    replace_file(path, "".join(lines).encode())  # ASCII: lone surrogates are escaped


def listed(counts: Mapping[str, int]) -> str:
    """Return counts as text: "3 of one kind, 2 of another"; "" for none."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()) if count)


def _read_folder(folder: Path) -> Searches:
    if (folder / RECORDS).is_file():
        found = searches_of(read_records(folder))
    else:
        names = [name for name in (SEARCHES, JUDGED) if (folder / name).is_file()]
        if not names:
            raise SimulationDataError(
                f"{folder} holds no searches: it has neither {RECORDS}, {SEARCHES} nor {JUDGED}."
            )
        found = _read_file(folder / names[0])
    if not (folder / JUDGED).is_file():
        return found
    judged = _read_file(folder / JUDGED).searches
    return found._replace(searches=with_verdicts_of(found.searches, judged))


def _read_file(path: Path) -> Searches:
    check_file(path, SimulationDataError)
    searches: list[CollectedSearch] = []
    left_out: Counter[str] = Counter()
    places: dict[str, str] = {}
    for place, values in read_jsonl(path, SimulationDataError):
        try:
            search = CollectedSearch.from_json(values)
        except SimulationDataError as error:
            raise SimulationDataError(f"{place}: not a search: {error}.") from None
        if search.key in places:
            raise SimulationDataError(f"{place}: the same search as in {places[search.key]}.")
        places[search.key] = place
        if search.documents:
            searches.append(search)
        else:
            left_out[NOTHING_FOUND] += 1
    return Searches(searches, left_out)


def _why_left_out(search: RecordSearch) -> str | None:
    if search.failure is not None:
        return FAILED
    if search.noisy:
        return NOISE
    return None if search.documents else NOTHING_FOUND


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r:.40}")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"a verdict must be true or false, got {value!r:.40}")
    return value
