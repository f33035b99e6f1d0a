"""Sources of questions: the embedded world, a data set, a file, or the user's own objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from zs_env import keyed_random
from zs_env.checks import as_integer, check_choice, suggestion
from zs_env.dataset_loading import load_dataset, load_from_hub
from zs_env.datasets import DATASETS
from zs_env.loading import Spec, make_by_name, parse_spec
from zs_env.question_files import FILE_SUFFIXES, load_file
from zs_env.questions import SPLITS, Question, QuestionSet, QuestionSource
from zs_env.world import load_world

WORLD = "world"
HUB = "hub"
DATASET_OPTIONS = {"folder": None, "split": None}
HUB_OPTIONS = {
    "id": None,
    "config": None,
    "split": "test",
    "question": "question",
    "answers": "golden_answers",
}
EXPECTED = (
    f"`questions` must be 'world', a path that ends in {' or '.join(FILE_SUFFIXES)}, a data set "
    f"({', '.join(DATASETS)}, or '{HUB},id=OWNER/NAME'), 'module:Class', or a sequence of "
    "zs_env.Question"
)


def load_questions(
    questions: Spec | QuestionSource | Sequence[Question],
    split: str = "train",
    world_seed: int = 0,
    world_size: str = "small",
) -> QuestionSource:
    """Return the questions that ``questions`` names or holds.

    Args:
        questions: ``"world"``, the embedded world; the name of a data set, such as
            ``"hotpotqa"``, with the options ``split`` and ``folder``; ``"hub,id=OWNER/NAME"``, any
            data set of the Hugging Face hub; the path of a ``.jsonl`` or ``.parquet`` file with the
            columns ``question``, ``answers`` or ``golden_answers``, and optionally ``id`` (other
            columns become metadata); ``"module:Class"``; a sequence of `Question`; or a
            `QuestionSource`. World, data sets and files take ``sample`` and ``seed``, see
            `sample_questions`; the world also ``kinds``, as in ``"world,kinds=1-hop+2-hop"``.
        split: split of the embedded world, ``train`` or ``test``. It says nothing about others: a
            data set is read in the split that results are reported on, unless its own option
            ``split`` names another.
        world_seed: seed of the embedded world; an option ``world_seed`` takes precedence.
        world_size: size of the embedded world; an option ``world_size`` takes precedence.

    Raises:
        ValueError: the name or the split is unknown.
        TypeError: an option is unknown, or ``questions`` is none of these.
        QuestionSourceError: a file or data set is missing or broken, two questions share an id, or
            there is no question.
    """
    check_choice("split", split, SPLITS)
    if isinstance(questions, str | Path | Mapping):
        return _load_named(questions, split, world_seed, world_size)
    if isinstance(questions, QuestionSource):
        return questions
    if not isinstance(questions, Iterable):
        raise TypeError(f"{EXPECTED}, got {questions!r}.")
    return QuestionSet(questions)


def are_about_the_world(questions: Spec | QuestionSource | Sequence[Question]) -> bool:
    """Return whether ``questions`` names those of the embedded world, with options or without."""
    if not isinstance(questions, str | Path | Mapping):
        return False
    return parse_spec("questions", questions).name == WORLD


def world_of(
    questions: Spec | QuestionSource | Sequence[Question],
    world_seed: int = 0,
    world_size: str = "small",
) -> tuple[int, str]:
    """Return seed and size of the embedded world that ``questions`` are about, for their engine.

    Args:
        questions: questions, as drivers take them; their own options come first.
        world_seed: seed, if they give none.
        world_size: size, if they give none.
    """
    options: dict[str, Any] = {}
    if isinstance(questions, str | Path | Mapping):
        options = parse_spec("questions", questions).options
    return options.get("world_seed", world_seed), options.get("world_size", world_size)


def sample_questions(source: QuestionSource, number: int, seed: int = 0) -> QuestionSet:
    """Return a random subset of ``source``, in random order, which follows from ids and ``seed``.

    It is the same whatever the order of ``source``, on every machine. The first questions of a
    larger subset are the smaller one.

    Args:
        source: the questions.
        number: number of questions, at least 1; all are taken if there are fewer.
        seed: seed of the choice.

    Raises:
        TypeError: ``number`` or ``seed`` is no integer.
        ValueError: ``number`` is less than 1.
    """
    number, seed = as_integer("sample", number, 1), as_integer("seed", seed)

    def rank(question: Question) -> tuple[int, str]:
        return keyed_random.derive_key("sample", seed, question.id), question.id

    questions = (source[index] for index in range(len(source)))
    return QuestionSet(sorted(questions, key=rank)[:number])


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
    # The path of a file may hold a colon, too.
    if ":" in name and Path(name).suffix not in FILE_SUFFIXES:
        return make_by_name(
            "questions",
            {"name": name, **options},
            {},
            {},
            QuestionSource,  # type: ignore[type-abstract]  # checked by its methods
        )
    sample, seed = options.pop("sample", None), options.pop("seed", None)
    if sample is None and seed is not None:
        raise TypeError(f"`seed` chooses a `sample`: expected {name},sample=100,seed={seed}.")
    world = {"split": split, "world_seed": world_seed, "world_size": world_size}
    source = _load_source(name, options, world)
    if sample is None:
        return source
    number, seed = as_integer("sample", sample, 1), as_integer("seed", 0 if seed is None else seed)
    return _sample_once(source, number, seed)  # type: ignore[arg-type]  # all these are hashable


def _load_source(name: str, options: Mapping[str, Any], world: Mapping[str, Any]) -> QuestionSource:
    if name == WORLD:
        return _load_world(**_with_options(name, {**world, "kinds": None}, options))
    if name == HUB:
        return load_from_hub(**_with_options(name, HUB_OPTIONS, options))
    if name in DATASETS:
        return load_dataset(DATASETS[name], **_with_options(name, DATASET_OPTIONS, options))
    if Path(name).suffix not in FILE_SUFFIXES:
        raise ValueError(f"{EXPECTED}, got {name!r}{suggestion(name, ['world', *DATASETS])}.")
    _with_options(name, {}, options)
    return load_file(Path(name))


def _with_options(
    name: str, known: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    if unknown := [option for option in options if option not in known]:
        expected = [*known, "sample", "seed"]
        raise TypeError(
            f"the questions {name!r} have no option {unknown[0]!r}"
            f"{suggestion(unknown[0], expected)}; expected some of {', '.join(expected)}."
        )
    return {**known, **options}


def _load_world(split: str, world_seed: int, world_size: str, kinds: Any) -> QuestionSource:
    if kinds is None:
        return load_world(world_seed, world_size).questions(split)
    if not isinstance(kinds, str):
        raise TypeError(f"`kinds` must be text such as '1-hop+2-hop', got {kinds!r}.")
    return _world_of_kinds(split, world_seed, world_size, kinds)


@lru_cache(maxsize=8)
def _world_of_kinds(split: str, world_seed: int, world_size: str, kinds: str) -> QuestionSet:
    """Return the questions of the world whose kind is one of ``kinds``, joined by ``+``."""
    questions = list(load_world(world_seed, world_size).questions(split))
    wanted = kinds.split("+")
    for kind in wanted:
        check_choice("kinds", kind, sorted({q.metadata["kind"] for q in questions}))
    return QuestionSet(q for q in questions if q.metadata["kind"] in wanted)


_sample_once = lru_cache(maxsize=8)(sample_questions)
