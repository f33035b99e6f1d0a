"""Where a data set lies: in a folder of the user's, or in the cache of the Hugging Face hub.

A folder holds data sets as plain files, ``hotpotqa/dev.jsonl`` or ``hotpotqa.jsonl`` (or
``.parquet``), or is a data set repository of the hub. Nothing here touches the network.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from zs_env.datasets import DATASETS, Dataset
from zs_env.errors import QuestionSourceError
from zs_env.question_files import FILE_SUFFIXES

DATA_FOLDER = "ZS_ENV_DATA"
"""Environment variable with a folder of data sets."""

CACHE = "cache of the hub"


class Place(NamedTuple):
    """Where a split lies.

    Attributes:
        path: a file, the folder of a repository, or the name of a repository of the hub.
        config: configuration of the repository.
        stamp: changes if what lies there does.
    """

    path: str
    config: str | None = None
    stamp: int = 0


def find_place(dataset: Dataset, folder: str | Path | None, split: str) -> Place | None:
    """Return where a split lies in ``folder``, by default that of ``ZS_ENV_DATA``.

    Returns:
        A place; None if there is no folder, or the data set is not in it.

    Raises:
        QuestionSourceError: there is no such folder.
    """
    named = os.environ.get(DATA_FOLDER) if folder is None else folder
    if not named:
        return None
    root = Path(named).expanduser()
    if not root.is_dir():
        asked = DATA_FOLDER if folder is None else "`folder`"
        raise QuestionSourceError(f"{root}: {asked} names a folder that does not exist.")
    return _find_file(dataset, root, split) or _find_repository(dataset, root)


def describe_place(dataset: Dataset, split: str | None = None) -> str | None:
    """Return where a data set is found without the network, in words; None if it is nowhere.

    Args:
        dataset: the data set.
        split: split; by default the one that results are reported on.

    Raises:
        QuestionSourceError: ``ZS_ENV_DATA`` names no folder.
    """
    place = find_place(dataset, None, split or dataset.evaluation_split)
    if place is not None:
        return place.path
    if not dataset.parts:
        return CACHE if _is_cached(dataset) else None
    found = [describe_place(DATASETS[name], split) for name, split in dataset.parts]
    named = [each for each in found if each is not None]
    return ", ".join(dict.fromkeys(named)) if len(named) == len(found) else None


def spellings(split: str) -> tuple[str, ...]:
    """Return the names of a split: the hub's library calls a file ``dev`` ``validation``."""
    same = ("dev", "validation")
    return (split, *(each for each in same if each != split)) if split in same else (split,)


def time_stamp(folder: Path) -> int:
    """Return when a file in ``folder`` was last changed, in ns; 0 if there is none."""
    return max((path.stat().st_mtime_ns for path in folder.rglob("*")), default=0)


def _find_file(dataset: Dataset, root: Path, split: str) -> Place | None:
    names = [f"{dataset.name}/{each}" for each in spellings(split)]
    if dataset.evaluation_split in spellings(split):
        names.append(dataset.name)
    for path in (root / f"{name}{suffix}" for name in names for suffix in FILE_SUFFIXES):
        if path.is_file():
            return Place(str(path), stamp=path.stat().st_mtime_ns)
    return None


def _find_repository(dataset: Dataset, root: Path) -> Place | None:
    """Find a repository of the hub: with a card that names its parts, or a folder for each."""
    if dataset.config is None:
        return None
    if (root / "README.md").is_file() and dataset.config in _configs(root):
        return Place(str(root), dataset.config, time_stamp(root))
    own = root / dataset.config
    return Place(str(own), stamp=time_stamp(own)) if own.is_dir() else None


def _configs(root: Path) -> list[str]:
    try:
        import datasets

        return list(datasets.get_dataset_config_names(str(root)))
    except Exception:  # no library, or nothing that it can read: reading says so
        return []


def _is_cached(dataset: Dataset) -> bool:
    try:
        import datasets
        from datasets.naming import camelcase_to_snakecase
    except ImportError:  # the cache is of no use without the library
        return False
    owner, _, repository = dataset.hub.partition("/")
    root = Path(datasets.config.HF_DATASETS_CACHE)
    folder = root / f"{owner}___{camelcase_to_snakecase(repository)}"
    return any(folder.glob(f"{dataset.config}/*/*/dataset_info.json"))
