"""Data sets by name, from a folder of the user's, or the Hugging Face hub or its cache."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from zs_env.dataset_places import DATA_FOLDER, Place, find_place, spellings, time_stamp
from zs_env.datasets import DATASETS, Dataset
from zs_env.errors import QuestionSourceError
from zs_env.question_files import FILE_SUFFIXES, Row, make_question, make_questions, read_rows
from zs_env.questions import Question, QuestionSet

NEEDS_LIBRARY = "`datasets` is not installed (in the checkout, pip install '.[data]')"


def load_dataset(
    dataset: Dataset, folder: str | Path | None = None, split: str | None = None
) -> QuestionSet:
    """Return the questions of a data set, which are read once for all environments.

    Args:
        dataset: the data set.
        folder: where it lies; by default in that of ``ZS_ENV_DATA``, else on the Hugging Face hub
            or in its cache.
        split: split; by default the one that results are reported on.

    Raises:
        QuestionSourceError: it is not at hand, or broken; two questions share an id.
    """
    split = dataset.evaluation_split if split is None else str(split)
    place = find_place(dataset, folder, split)
    if place is not None:
        return _load(dataset, place, split)
    if folder is not None and not dataset.parts:
        raise QuestionSourceError(_not_in_folder(dataset, Path(folder), split))
    if not set(spellings(split)) & set(dataset.splits):
        raise QuestionSourceError(_no_such_split(dataset.name, split, dataset.splits))
    if dataset.parts:
        parts = [(name, load_dataset(DATASETS[name], folder, of)) for name, of in dataset.parts]
        return _union(tuple(parts), dataset.name)
    return _load(dataset, Place(dataset.hub, dataset.config), split)


def load_from_hub(
    id: str | None,
    config: str | None = None,
    split: str = "test",
    question: str = "question",
    answers: str = "golden_answers",
) -> QuestionSet:
    """Return the questions of any data set of the Hugging Face hub, or of a copy of it in a folder.

    Args:
        id: owner and name, or the folder of a copy.
        config: configuration; None for the default.
        split: split.
        question: column of the questions.
        answers: column of the golden answers.

    Raises:
        TypeError: there is no ``id``.
        QuestionSourceError: as for `load_dataset`.
    """
    if not isinstance(id, str):
        raise TypeError(f"the questions 'hub' need an id, as in hub,id=OWNER/NAME, got {id!r}.")
    config = None if config is None else str(config)
    folder = Path(id)
    place = Place(id, config, time_stamp(folder) if folder.is_dir() else 0)
    return _load(_hub_dataset(id, config, split, question, answers), place, split)


@lru_cache(maxsize=16)
def _hub_dataset(id: str, config: str | None, split: str, question: str, answers: str) -> Dataset:
    # One object for equal arguments, because what is loaded is kept by data set.
    return Dataset(
        name=id,
        splits={split: 0},
        licence="unknown",
        link=f"https://huggingface.co/datasets/{id}",
        hub=id,
        config=config,
        question=question,
        golden_answers=answers,
    )


@lru_cache(maxsize=16)
def _load(dataset: Dataset, place: Place, split: str) -> QuestionSet:
    path = Path(place.path)
    make = partial(_make, dataset)
    if path.suffix in FILE_SUFFIXES and path.is_file():
        return make_questions(str(path), read_rows(path), make)
    return make_questions(f"{place.path}, {split}", _read_repository(dataset, place, split), make)


@lru_cache(maxsize=4)
def _union(parts: tuple[tuple[str, QuestionSet], ...], name: str) -> QuestionSet:
    # Ids are unique in a data set, not among several.
    questions = (
        Question(f"{part}/{q.id}", q.text, q.golden_answers, {**q.metadata, "dataset": part})
        for part, of in parts
        for q in of
    )
    return QuestionSet(questions, name=name)


def _make(dataset: Dataset, row: Row, number: int) -> Question:
    row = {dataset.aliases.get(name, name): value for name, value in row.items()}

    def describe(extra: Row) -> Mapping[str, Any]:
        fields = _merge(extra)
        hops = dataset.count_hops(str(row.get("id")), fields)
        kept = {name: value for name, value in fields.items() if _is_flat(value)}
        return kept if hops is None else {"hops": hops} | kept

    return make_question(row, f"{dataset.name}-{number}", describe)


def _merge(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with those in ``metadata``, at any depth, beside the others."""
    inner = fields.get("metadata")
    if not isinstance(inner, Mapping):
        return dict(fields)
    return _merge(inner) | {name: fields[name] for name in fields if name != "metadata"}


def _is_flat(value: Any) -> bool:
    # Paragraphs and supporting facts are long, and would be in every record.
    if isinstance(value, list):
        return all(isinstance(each, str | int | float) for each in value)
    return isinstance(value, str | int | float)


def _read_repository(dataset: Dataset, place: Place, split: str) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a split of a repository, of the hub or in a folder."""
    try:
        table = _prepare(dataset, place, split)
    except QuestionSourceError:
        raise
    except Exception as error:  # of the hub, the network, the disk, or any format of files
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if isinstance(error, ImportError):
            reason = NEEDS_LIBRARY
        if Path(place.path).is_dir():
            raise QuestionSourceError(f"{place.path} cannot be read: {reason}") from error
        raise QuestionSourceError(_not_at_hand(dataset, reason)) from error
    number = 0
    for batch in table.iter(batch_size=1000):
        for row in batch.to_pylist():
            number += 1
            yield f"{place.path}, {split}: row {number}", row


def _prepare(dataset: Dataset, place: Place, split: str) -> Any:
    """Return a split as a table of `datasets`, downloaded if need be."""
    import datasets

    revision = None if Path(place.path).is_dir() else dataset.revision
    builder = datasets.load_dataset_builder(place.path, place.config, revision=revision)
    known = [str(name) for name in builder.config.data_files or builder.info.splits or ()]
    found = next((name for name in spellings(split) if name in known), None)
    if found is None:
        raise QuestionSourceError(_no_such_split(place.path, split, known))
    builder.download_and_prepare()
    return builder.as_dataset(split=found).with_format("arrow")


def _no_such_split(name: str, split: str, known: Iterable[str]) -> str:
    return f"{name}: there is no split {split!r}, only {', '.join(known) or 'none'}."


def _not_in_folder(dataset: Dataset, root: Path, split: str) -> str:
    names = sorted(path.name for path in root.expanduser().iterdir())
    return (
        f"{root}: there is no {dataset.name} with the split {split!r}: expected "
        f"{dataset.name}/{split}.jsonl, or {dataset.name}.jsonl with its split "
        f"{dataset.evaluation_split!r}, or the same as .parquet, or a data set repository of the "
        f"hub, got {', '.join(names[:9]) or 'nothing'}."
    )


def _not_at_hand(dataset: Dataset, reason: str) -> str:
    get = f"`hf download {dataset.hub} --repo-type dataset --local-dir DATA`"
    if dataset.name not in DATASETS:
        return (
            f"{dataset.hub} of the Hugging Face hub is not at hand: {reason.rstrip('.')}. Where "
            f"there is a network, {get} gets it; then write hub,id=DATA."
        )
    folder = os.environ.get(DATA_FOLDER)
    searched = f"it is not in {folder} ({DATA_FOLDER})" if folder else f"{DATA_FOLDER} is not set"
    return (
        f"{dataset.name} is not at hand: {searched}, and the Hugging Face hub or its cache gave: "
        f"{reason.rstrip('.')}. Where there is a network, "
        f"{get[:-1]} --include '{dataset.config}/*'` gets it; then set {DATA_FOLDER}=DATA, or "
        f"write {dataset.name},folder=DATA."
    )
