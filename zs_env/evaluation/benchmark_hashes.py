"""Hashes of what a benchmark asks, and of what searches find in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields, replace

from zs_env.errors import RecordError
from zs_env.evaluation.benchmark_plans import plan_of
from zs_env.evaluation.benchmarks import Benchmark, Chosen, Tier, find_benchmark
from zs_env.evaluation.identity import fingerprint
from zs_env.evaluation.plan import Plan
from zs_env.evaluation.prepared import Evaluation
from zs_env.evaluation.record import Record
from zs_env.question_sources import load_questions
from zs_env.world import load_world
from zs_env.world.text import corpus

NUM_SEARCHED = 50
"""Number of first questions of a tier whose searches are hashed, and …"""

SEARCHERS = ("scripted-rag", "careful")
"""… methods that search: with the whole question, and for one fact after the other."""


class BenchmarkChanged(RecordError):
    """A benchmark asks something else than it did when it got its name."""


def hashes_of(benchmark: Benchmark, tier: Tier, seed: int) -> tuple[str, str]:
    """Return hashes of what ``tier`` asks about the world of ``seed``.

    Returns:
        A hash of ids, texts and golden answers of the questions, as in ``run.json``; and one of all
        passages of the world's corpus, and of all that `SEARCHERS` search for and find as they play
        the first questions: of how queries are read, documents ranked and written, and noise drawn.
    """
    questions = load_questions(benchmark.questions(tier, seed), "test")
    digest = hashlib.sha256()
    for passage in corpus(load_world(seed, tier.world_size)):
        digest.update(repr(tuple(passage)).encode())
    for record in _searched(benchmark, tier, seed):
        searches = [(each.query, each.noisy, each.documents) for each in record.searches]
        digest.update(repr((record.question_id, searches)).encode())
    return fingerprint(questions, len(questions)), digest.hexdigest()[:16]


def check_hashes(chosen: Chosen) -> None:
    """Check that the benchmark is what it was when it got its name.

    Raises:
        BenchmarkChanged: it is not; the message says what differs.
    """
    benchmark = chosen.benchmark
    for tier in chosen.tiers:
        for seed in benchmark.seeds:
            found = hashes_of(benchmark, tier, seed)
            for what, now, before in zip(
                ("questions", "documents"), found, tier.hashes[seed], strict=True
            ):
                if now != before:
                    raise BenchmarkChanged(
                        f"the {what} of {benchmark.part(tier)} in the world of seed {seed} have "
                        f"changed: their hash is {now}, and was {before}. Scores would not be those"
                        f" of {benchmark.name}: undo the change, or make it a new benchmark with "
                        "the next version in its name."
                    )


def check_plan(plan: Plan) -> None:
    """Check that ``plan``, if it is of a benchmark, asks what that asks, and asked before.

    Raises:
        ValueError: it asks otherwise, or there is no such benchmark.
        BenchmarkChanged: the benchmark is not what it was.
    """
    if plan.benchmark is None:
        return
    chosen = find_benchmark(plan.benchmark)
    benchmark, tier = chosen.benchmark, chosen.tiers[0]
    wanted = plan_of(benchmark, tier, plan.method, plan.model, plan.options)
    names = [f.name for f in fields(Plan) if getattr(plan, f.name) != getattr(wanted, f.name)]
    if names:
        raise ValueError(
            f"`plan` is called {plan.benchmark!r} but asks otherwise, in {', '.join(names)}: make "
            "it by `plans_of`, or leave out its `benchmark`."
        )
    check_hashes(chosen)


def documents_of(part: str) -> dict[str, str]:
    """Return the hash of the documents of a tier by questions, as ``run.json`` holds it.

    Args:
        part: written form of the tier, see `Benchmark.part`.
    """
    benchmark, [tier] = find_benchmark(part)
    return {benchmark.questions(tier, seed): tier.hashes[seed][1] for seed in benchmark.seeds}


def _searched(benchmark: Benchmark, tier: Tier, seed: int) -> Iterator[Record]:
    """Yield the records of the first questions, by method and question."""
    for method in SEARCHERS:
        plan = plan_of(benchmark, tier, method)
        plan = replace(
            plan, questions=[benchmark.questions(tier, seed)], num_questions=NUM_SEARCHED
        )
        records: list[Record] = []
        with Evaluation(plan) as evaluation:
            evaluation.play(evaluation.tasks(), records.append)
        yield from sorted(records, key=lambda record: record.key)
