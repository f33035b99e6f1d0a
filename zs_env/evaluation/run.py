"""A run of an evaluation: every question with every engine, each kept as it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from zs_env.evaluation.benchmark_hashes import check_plan, documents_of
from zs_env.evaluation.methods import load_method
from zs_env.evaluation.models import load_model
from zs_env.evaluation.plan import Plan, make_options
from zs_env.evaluation.prepared import Evaluation
from zs_env.evaluation.progress import Progress
from zs_env.evaluation.record import Record, RecordKey
from zs_env.evaluation.store import RecordStore
from zs_env.evaluation.summary import Prices

__all__ = ["Evaluation", "Plan", "evaluate", "make_options"]

SHARED = ("method", "model", "repeats", "seed", "num_questions")
"""Parts of a plan that the tiers of a benchmark share."""


def evaluate(
    plan: Plan | Sequence[Plan],
    folder: str | Path | None = None,
    *,
    max_concurrency: int = 256,
    retry_failed: bool = False,
    prices: Prices | None = None,
    show_progress: bool = True,
) -> list[Record]:
    """Play what ``plan`` asks, and return its records, by dataset, engine, question and repeat.

    A second call with the same folder asks only what no record there holds, and loads no model if
    that is nothing.

    Args:
        plan: what to ask; or plans of tiers of one benchmark, by `plans_of`. Before a benchmark
            is played, its hashes are checked, in some seconds.
        folder: folder that keeps the records; None keeps none.
        max_concurrency: most questions under way at the same time.
        retry_failed: whether to ask again what failed in an earlier call.
        prices: prices, to show the cost with the progress.
        show_progress: whether to print the progress to the standard error.

    Raises:
        RecordError: the folder holds another run, or cannot be written.
        ValueError: a part of the plan does not exist, or does not fit the others.
        BenchmarkChanged: the benchmark is not what it was.
        ZeroSearchError: a file, a server or a package that the plan needs is not there.

    Example:
        >>> plan = Plan(method="solver", engines=["world", "bm25"], num_questions=20)
        >>> records = evaluate(plan, show_progress=False)
    """
    plans = [plan] if isinstance(plan, Plan) else plan
    _check_together(plans)
    for each in plans:
        check_plan(each)
    with ExitStack() as stack:
        evaluations = [
            stack.enter_context(Evaluation(each)) for each in _with_one_model(plans, stack)
        ]
        store = None
        if folder is not None:
            asked = asked_in(evaluations)
            store = RecordStore(Path(folder), asked, retry_failed=retry_failed)
            stack.enter_context(store)
        records = {} if store is None else dict(store.records)
        missing = [
            [each for each in evaluation.tasks() if each[0].key not in records]
            for evaluation in evaluations
        ]
        if any(missing):
            evaluations[0].check()  # before the clock of the progress starts
            progress = None
            if show_progress:
                total = sum(map(len, evaluations))
                progress = Progress(total, list(records.values()), prices)
                stack.callback(progress.close)
            keep = _keeper(records, store, progress)
            for evaluation, tasks in zip(evaluations, missing, strict=True):
                if tasks:
                    evaluation.play(tasks, keep, max_concurrency)
    return [records[key] for key in sorted(records)]


def asked_in(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Return what a run asks, for `RecordStore`; that of a benchmark tier by tier.

    Args:
        evaluations: an evaluation, or those of the tiers of a benchmark.
    """
    first = evaluations[0].asked
    if evaluations[0].plan.benchmark is None:
        return first
    own = ("questions", "engines", "options")
    shared = {name: value for name, value in first.items() if name not in own}
    tiers = {}
    for evaluation in evaluations:
        part = str(evaluation.plan.benchmark)
        asked = {name: evaluation.asked[name] for name in own}
        tiers[part] = {**asked, "documents": documents_of(part)}
    return {**shared, "benchmark": tiers}


def _check_together(plans: Sequence[Plan]) -> None:
    """Check that ``plans`` are one, or those of different tiers of one benchmark.

    Raises:
        ValueError: they are not.
    """
    parts = [plan.benchmark for plan in plans]
    if not plans or (len(plans) > 1 and (None in parts or len(set(parts)) < len(parts))):
        raise ValueError(
            "`plan` must be one plan, or one for each of some tiers of a benchmark, got "
            f"{len(plans)} of {', '.join(map(str, parts)) or 'nothing'}. Evaluate other plans one "
            "by one; a plan may have several sets of questions and engines."
        )
    for name in SHARED:
        if any(getattr(plan, name) != getattr(plans[0], name) for plan in plans):
            raise ValueError(f"`plan` must be plans with the same `{name}`: evaluate one by one.")


def _with_one_model(plans: Sequence[Plan], stack: ExitStack) -> Sequence[Plan]:
    """Return ``plans`` with the same model, loaded once and closed by ``stack``."""
    model = plans[0].model
    if len(plans) == 1 or model is None or not load_method(plans[0].method).needs_model:
        return plans
    llm = load_model(model)
    if llm is not model:
        stack.callback(llm.close)
    return [replace(plan, model=llm) for plan in plans]


def _keeper(
    records: dict[RecordKey, Record], store: RecordStore | None, progress: Progress | None
) -> Callable[[Record], None]:
    def keep(record: Record) -> None:
        records[record.key] = record
        if store is not None:
            store.write(record)
        if progress is not None:
            progress.add(record)

    return keep
