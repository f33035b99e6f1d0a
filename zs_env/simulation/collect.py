"""Collecting searches: episodes of training questions on a real engine, and their searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zs_env.datasets import DATASETS
from zs_env.evaluation.plan import Plan
from zs_env.evaluation.record import Record
from zs_env.evaluation.run import evaluate
from zs_env.evaluation.summary import Prices
from zs_env.loading import parse_spec
from zs_env.question_sources import HUB, WORLD
from zs_env.settings import Questions
from zs_env.simulation.searches import SEARCHES, Searches, searches_of, write_searches

TRAIN = "train"


def collect(
    plan: Plan,
    folder: Path,
    *,
    max_concurrency: int = 256,
    retry_failed: bool = False,
    prices: Prices | None = None,
    show_progress: bool = True,
) -> tuple[list[Record], Searches]:
    """Play what ``plan`` asks, and write the searches to ``folder``, one a line.

    Arguments and errors are those of `zs_env.evaluation.run.evaluate`. The embedded world and data
    sets with a name give their training questions. A second call with the same folder asks only
    what is missing.

    Returns:
        The records, and their searches.

    Raises:
        ValueError: the plan asks for noise or for test questions of the embedded world.
    """
    if plan.options.noise:
        raise ValueError(
            f"`noise` must be 0 to collect, got {plan.options.noise}: what a real engine finds is "
            "judged later."
        )
    plan = replace(plan, questions=[training_questions(spec) for spec in plan.questions])
    records = evaluate(
        plan,
        folder,
        max_concurrency=max_concurrency,
        retry_failed=retry_failed,
        prices=prices,
        show_progress=show_progress,
    )
    found = searches_of(records)
    write_searches(folder / SEARCHES, found.searches)
    return records, found


def training_questions(spec: Questions) -> Questions:
    """Return ``spec`` with the training split, if it names questions that have one.

    Raises:
        ValueError: it names questions that results are reported on.
    """
    if not isinstance(spec, str | Path | Mapping):
        return spec
    name, options = parse_spec("questions", spec)
    if name not in (WORLD, HUB, *DATASETS):
        return spec
    reported = DATASETS[name].evaluation_split if name in DATASETS else "test"
    has_train = name == WORLD or (name in DATASETS and TRAIN in DATASETS[name].splits)
    split = options.get("split", TRAIN if has_train else reported)
    if split == reported != TRAIN:
        raise ValueError(
            f"`questions` must be training questions to collect, got {spec!r}: the split "
            f"{split!r} is for measuring. `zs-env evaluate` plays it, and its folder is a source, "
            "too."
        )
    return spec if "split" in options else _with_split(spec, name, options)


def _with_split(
    spec: str | Path | Mapping[str, Any], name: str, options: Mapping[str, Any]
) -> Questions:
    if isinstance(spec, str) and not spec.lstrip().startswith("{"):
        return f"{spec},split={TRAIN}"
    return {"name": name, **options, "split": TRAIN}


def failed_of(records: Sequence[Record]) -> int:
    """Return the number of records that failed, and can be asked again."""
    return sum(record.failed for record in records)
