"""Sources of questions: the embedded world, a file, or the user's own objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from zs_env import keyed_random
from zs_env.checks import check_choice, suggestion
from zs_env.errors import MissingDependencyError, QuestionSourceError
from zs_env.files import check_file, read_jsonl
from zs_env.loading import Spec, make_by_name, parse_spec
from zs_env.questions import SPLITS, Question, QuestionSet, QuestionSource
from zs_env.world import load_world

FILE_SUFFIXES = (".jsonl", ".parquet")
EXPECTED = (
    f"`questions` must be 'world', a path that ends in {' or '.join(FILE_SUFFIXES)}, "
    "'module:Class', or a sequence of zs_env.Question"
)


def load_questions(
    questions: Spec | QuestionSource | Sequence[Question],
    split: str = "train",
    world_seed: int = 0,
    world_size: str = "small",
) -> QuestionSource:
    """Return the questions that ``questions`` names or holds.

    Args:
        questions: ``"world"``, the embedded world; the path of a ``.jsonl`` or ``.parquet`` file
            with the columns ``question``, ``answers`` or ``golden_answers``, and optionally
            ``id`` (other columns become metadata); ``"module:Class"``; a sequence of `Question`;
            or a `QuestionSource`.
        split: split of the embedded world, ``train`` or ``test``; a file or an object has only one.
        world_seed: seed of the embedded world.
        world_size: size of the embedded world.

    Raises:
        ValueError: the name or the split is unknown.
        TypeError: an option is unknown, or ``questions`` is none of these.
        QuestionSourceError: a file is missing or broken, two questions share an id, or there is no
            question.
    """
    check_choice("split", split, SPLITS)
    if isinstance(questions, str | Path | Mapping):
        return _load_named(questions, split, world_seed, world_size)
    if isinstance(questions, QuestionSource):
        return questions
    if not isinstance(questions, Iterable):
        raise TypeError(f"{EXPECTED}, got {questions!r}.")
    return QuestionSet(questions)


class QuestionOrder:
    """Endless sequence of the questions of ``source``, in random orders that follow from ``seed``.

    Each question comes once before any repeats. Any position can be read directly, so a run that
    resumes needs to know only how many questions it has drawn.

    Args:
        source: the questions.
        seed: seed of the orders.
    """

    __slots__ = ("_epoch", "_key", "_seed", "_source")

    def __init__(self, source: QuestionSource, seed: int) -> None:
        self._source = source
        self._seed = seed
        self._epoch = -1
        self._key = 0

    def __getitem__(self, number: int) -> Question:
        """Return question ``number`` of the sequence, from 0."""
        if number < 0:
            raise IndexError(f"questions are counted from 0, got {number}.")
        size = len(self._source)
        epoch, position = divmod(number, size)
        if epoch != self._epoch:  # the key is hashed once an epoch
            self._key = keyed_random.derive_key("order", self._seed, epoch)
            self._epoch = epoch
        return self._source[keyed_random.shuffled_index(position, size, self._key)]


def _load_named(spec: Spec, split: str, world_seed: int, world_size: str) -> QuestionSource:
    name, options = parse_spec("questions", spec)
    if name == "world":
        world: dict[str, Any] = {"split": split, "world_seed": world_seed, "world_size": world_size}
        if unknown := [option for option in options if option not in world]:
            raise TypeError(
                f"the questions 'world' have no option {unknown[0]!r}"
                f"{suggestion(unknown[0], world)}; expected some of {', '.join(world)}."
            )
        world |= options
        return load_world(world["world_seed"], world["world_size"]).questions(world["split"])
    # The path of a file may hold a colon, too.
    if ":" in name and Path(name).suffix not in FILE_SUFFIXES:
        return make_by_name(
            "questions",
            {"name": name, **options},
            {},
            {},
            QuestionSource,  # type: ignore[type-abstract]  # checked by its methods
        )
    if options:
        raise TypeError(f"questions in a file take no options, got {', '.join(options)}.")
    return _load_file(Path(name))


def _load_file(path: Path) -> QuestionSet:
    if path.suffix not in FILE_SUFFIXES:
        raise ValueError(f"{EXPECTED}, got {str(path)!r}{suggestion(path, ['world'])}.")
    check_file(path, QuestionSourceError)
    return _read_file(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read_file(path: Path, modified_ns: int) -> QuestionSet:
    """Read and check a file, once for all environments.

    ``modified_ns`` is part of the cache's key, so that a changed file is read again.
    """
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
