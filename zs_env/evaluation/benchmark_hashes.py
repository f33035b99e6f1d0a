"""Hashes of what a benchmark asks, and of the documents that answer it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from zs_env.documents import SearchRequest
from zs_env.engines import load_engine
from zs_env.errors import RecordError
from zs_env.evaluation.benchmarks import Benchmark, Chosen, Tier
from zs_env.evaluation.identity import fingerprint
from zs_env.loading import parse_spec
from zs_env.question_sources import load_questions
from zs_env.questions import QuestionSource
from zs_env.world import load_world
from zs_env.world.text import corpus

NUM_SEARCHED = 50
"""Number of first questions of a tier whose documents are hashed, where a program writes them."""


class BenchmarkChanged(RecordError):
    """A benchmark asks something else than it did when it got its name."""


def hashes_of(benchmark: Benchmark, tier: Tier, seed: int) -> tuple[str, str]:
    """Return hashes of what ``tier`` asks about the world of ``seed``.

    Returns:
        A hash of ids, texts and golden answers of the questions, as in ``run.json``; and one of all
        passages of the world's corpus, and, if the engine of the tier is ``world``, of the
        documents that it writes for the first questions, with and without noise.
    """
    questions = load_questions(benchmark.questions(tier, seed), "test")
    digest = hashlib.sha256()
    for passage in corpus(load_world(seed, tier.world_size)):
        digest.update(repr(tuple(passage)).encode())
    if parse_spec("engine", tier.engine).name == "world":
        for text in _written(benchmark, tier, seed, questions):
            digest.update(repr(text).encode())
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


def _written(
    benchmark: Benchmark, tier: Tier, seed: int, questions: QuestionSource
) -> Iterator[str]:
    engine = load_engine(tier.engine, seed, tier.world_size)
    requests = [
        SearchRequest(
            query=question.text,
            question=question.text,
            golden_answers=question.golden_answers,
            noisy=noisy,
            top_k=benchmark.top_k,
            document_words=benchmark.document_words,
        )
        for question in (questions[index] for index in range(min(len(questions), NUM_SEARCHED)))
        for noisy in (False, True)
    ]
    for result in engine.search(requests):
        yield from (document.text for document in result.documents)
