"""Audit of the embedded world as a task: what its engines reveal, and which policies solve it.

    python -m benchmarks.world_audit [--size small] [--seed 0]
    python -m benchmarks.world_audit --readers [--size small] [--seed 0]
    python -m benchmarks.world_audit --tier easy standard hard
    python -m benchmarks.world_audit --tier easy standard hard --seed 201 202 203

`--readers` plays a careful and a careless reader by noise and turns. `--tier` audits tiers of the
benchmark world-v1 (`benchmarks.tier_audit`): what scripted agents earn, the rates at which
documents state what was asked, or give an answer away, and the readers as they play there. With
several seeds it prints whether the limits hold in those worlds. Both end with status 1 if not.

The first form is for all sizes but `hard`, and takes about ten seconds for the small world. It
prints each figure beside its limit: the scripted solver with both engines, the best answers without
searching, how often useful and noisy documents contain the fact asked for, and how often a document
leaks a golden answer to a query that did not ask for it. The tiny world has fewer types and
relations than the limit; the score of guessing is computed there instead.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import gymnasium as gym

import zs_env
from benchmarks.human_queries import HUMAN_QUERIES
from benchmarks.tier_audit import audit, print_readers
from zs_env import Question, SearchRequest
from zs_env.engines import load_engine
from zs_env.evaluation.benchmarks import WORLD_V1
from zs_env.evaluation.options import PlayOptions
from zs_env.rewards import substring_match
from zs_env.world import Fact, World, load_world
from zs_env.world.blind import blind_scores, mean_score
from zs_env.world.guesser import BestGuess
from zs_env.world.sizes import SIZES
from zs_env.world.solver import HopByHopSolver
from zs_env.world.text import corpus, statements, tokenize, vocabulary

Policy = Callable[[str], str]


class Outcome(NamedTuple):
    """Outcome of one episode."""

    kind: str
    f1: float
    num_searches: int


def play(policy: Policy, world: World, engine: str) -> list[Outcome]:
    """Play every test question once, at noise 0."""
    questions = world.questions("test")
    env = gym.make(
        "ZeroSearch-v0",
        split="test",
        engine=engine,
        world_seed=world.seed,
        world_size=world.size,
        noise="constant",
        noise_end=0.0,
    )
    outcomes = []
    for question in questions:
        observation, _ = env.reset(seed=0, options={"question": question.id})
        over = False
        while not over:
            observation, _, terminated, truncated, info = env.step(policy(observation))
            over = terminated or truncated
        outcomes.append(Outcome(question.metadata["kind"], info["f1"], info["num_searches"]))
    return outcomes


def report_play(name: str, outcomes: list[Outcome], limit: str) -> None:
    """Print the share of questions answered correctly, in all and by kind."""
    right = [outcome.f1 == 1.0 for outcome in outcomes]
    searches = sum(outcome.num_searches for outcome in outcomes) / len(outcomes)
    print(f"  {name:<34}{sum(right) / len(right):>8.1%}   {limit}   {searches:.2f} searches each")
    by_kind = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.kind].append(outcome.f1 == 1.0)
    kinds = (f"{kind} {sum(by_kind[kind]) / len(by_kind[kind]):.1%}" for kind in sorted(by_kind))
    print(f"    {', '.join(kinds)}")


class Counts(NamedTuple):
    """Number of documents with a property, out of all."""

    hits: int
    total: int

    @property
    def share(self) -> float:
        """Hits over total; 0.0 if there are none."""
        return self.hits / max(self.total, 1)


def count(documents: Iterator[bool]) -> Counts:
    """Count the flags that are True, one flag a document."""
    flags = list(documents)
    return Counts(sum(flags), len(flags))


def hops(world: World) -> Iterator[tuple[Question, Fact]]:
    """Yield each test question with each fact that it needs."""
    questions = world.questions("test")
    for index, question in enumerate(questions):
        for fact in questions.facts(index):
            yield question, fact


def wordings(world: World, fact: Fact) -> list[str]:
    """Return queries for ``fact``: phrasings of its relation, and keywords in another order."""
    name = world.names[fact.subject]
    templates = (*fact.relation.phrases, *fact.relation.questions)
    keywords = fact.relation.phrases[0].replace("{s}", "").split()
    return [*(t.format(s=name) for t in templates), " ".join([name, *reversed(keywords)])]


def search(world: World, query: str, question: Question, noisy: bool, key: int = 0) -> list[str]:
    """Return the texts that the engine ``world`` writes for ``query``."""
    engine = load_engine("world", world.seed, world.size)
    request = SearchRequest(query, question.text, question.golden_answers, noisy=noisy, key=key)
    return [document.text for document in engine.search([request])[0].documents]


def human_wordings(world: World, fact: Fact) -> list[str]:
    """Return queries for ``fact`` as people type them, with the name in lower case."""
    name = world.names[fact.subject].lower()
    return [template.format(s=name) for template in HUMAN_QUERIES[fact.relation.name]]


def states_fact(world: World, noisy: bool, words: Callable[[World, Fact], list[str]]) -> Counts:
    """Count the documents that contain the fact that their query asks for."""
    return count(
        any(sentence in text for sentence in statements(world, fact))
        for question, fact in hops(world)
        for query in words(world, fact)
        for text in search(world, query, question, noisy)
    )


class Asked(NamedTuple):
    """A query whose documents should not contain the golden answer of its question."""

    question: Question
    query: str
    key: int = 0


def leaks(world: World, asked: Iterator[Asked]) -> Counts:
    """Count the documents, useful and noisy, that contain a golden answer."""
    return count(
        bool(substring_match(text, question.golden_answers))
        for question, query, key in asked
        for noisy in (False, True)
        for text in search(world, query, question, noisy, key)
    )


def asked_early(world: World) -> Iterator[Asked]:
    """Yield queries for facts before the last one of a question."""
    for question, fact in hops(world):
        if not substring_match(world.names[fact.object], question.golden_answers):
            yield from (Asked(question, query) for query in wordings(world, fact))


def asked_whole(world: World) -> Iterator[Asked]:
    """Yield whole questions of several hops as queries."""
    for question in world.questions("test"):
        if question.metadata["kind"] in ("2-hop", "3-hop", "4-hop"):
            yield from (Asked(question, question.text, key) for key in range(10))


def asked_nonsense(world: World) -> Iterator[Asked]:
    """Yield queries that name an entity of the chain but no known relation, or nothing at all."""
    for question, fact in hops(world):
        name = world.names[fact.subject]
        if not substring_match(name, question.golden_answers):
            yield Asked(question, f"favourite colour of {name}")
            yield Asked(question, "xyzzy")


def facts_used(world: World, split: str) -> set[Fact]:
    """Return every fact that a question of ``split`` needs."""
    questions = world.questions(split)
    return {fact for index in range(len(questions)) for fact in questions.facts(index)}


def report_blind(world: World) -> None:
    """Print the F1 that can be reached without searching, where it can be computed."""
    print("highest mean F1 on test questions without searching: to expect, and fitted to them")
    scores = blind_scores(world)
    for name, score in scores.items():
        how = f"listing {score.num_listed} of {score.num_answers} answers"
        print(f"  {name:<34}{score.expected_f1:>8.1%}{score.fitted_f1:>8.1%}   {how}")
    expected, fitted = mean_score(scores.values())
    print(f"  {'mean over questions':<34}{expected:>8.1%}{fitted:>8.1%}")


def main(given: Sequence[str] | None = None) -> None:
    """Print the audit of worlds, or of tiers.

    Args:
        given: arguments; by default those of the program.
    """
    parser = argparse.ArgumentParser(description="Audit the embedded world.")
    parser.add_argument("--size", default="small", choices=SIZES, help="size of the world")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="seeds of the world")
    names = [tier.name for tier in WORLD_V1.tiers]
    parser.add_argument("--tier", nargs="+", choices=names, help="tiers of world-v1 to audit")
    parser.add_argument(
        "--readers", action="store_true", help="print what care is worth, by noise and turns"
    )
    arguments = parser.parse_args(given)
    if arguments.tier:
        raise SystemExit(not audit(arguments.tier, arguments.seed))
    if arguments.readers and arguments.size == "tiny":
        parser.error("--readers needs words that the tiny world lacks: give a larger --size.")
    if arguments.readers:
        hold = [print_readers(arguments.size, seed, PlayOptions()) for seed in arguments.seed]
        raise SystemExit(not all(hold))
    if arguments.size == "hard":
        parser.error("the limits are not of the hard world: give --tier hard, which has its own.")
    for seed in arguments.seed:
        audit_world(load_world(seed, arguments.size))


def audit_world(world: World) -> None:
    """Print every figure of one world beside its limit."""
    num_train, num_test = len(world.questions("train")), len(world.questions("test"))
    num_passages = len(list(corpus(world)))
    print(f"{world!r}, zs_env {zs_env.__version__}")
    num_types, num_words = len(world.blueprint.counts), len(vocabulary(world.size))
    print(f"  {world.num_entities:,} entities of {num_types} types (limit >= 6), ", end="")
    print(f"{len(world.relations)} relations (limit >= 20), {num_words:,} words and marks")
    print(f"  {num_train:,} train and {num_test} test questions, {num_passages:,} passages")
    shared = facts_used(world, "train") & facts_used(world, "test")
    print(f"  {'facts that train and test share':<34}{len(shared):>8}   0")
    known = set(vocabulary(world.size))
    unknown = sum(not known.issuperset(tokenize(passage.text)) for passage in corpus(world))
    unknown += sum(not known.issuperset(tokenize(q.text)) for q in world.questions("test"))
    print(f"  {'texts with an unknown word':<34}{unknown:>8}   0")

    print("answered right, test questions at noise 0")
    solver = HopByHopSolver(world)
    report_play("scripted solver, engine world", play(solver, world, "world"), ">= 95 %")
    report_play("scripted solver, engine bm25", play(solver, world, "bm25"), ">= 80 %")
    guesser = play(BestGuess(world), world, "world")
    mean_f1 = sum(outcome.f1 for outcome in guesser) / len(guesser)
    print(f"  {'F1 of the best guess, no search':<34}{mean_f1:>8.1%}   <= 5 %")
    if world.blueprint.mixture is None:
        report_blind(world)

    print("documents of the engine world that contain the fact asked for")
    for name, counts, limit in (
        ("useful, the world's phrasings", states_fact(world, False, wordings), ">= 98 %"),
        ("useful, as people type", states_fact(world, False, human_wordings), ">= 98 %"),
        ("noisy, the world's phrasings", states_fact(world, True, wordings), "<= 1 %"),
        ("noisy, as people type", states_fact(world, True, human_wordings), "<= 1 %"),
    ):
        print(f"  {name:<34}{counts.share:>8.2%}   {limit}   of {counts.total:,}")
    print("documents with a golden answer that the query did not earn")
    for name, counts in (
        ("the query asks for an earlier fact", leaks(world, asked_early(world))),
        ("the query is the whole question", leaks(world, asked_whole(world))),
        ("the query asks for nothing known", leaks(world, asked_nonsense(world))),
    ):
        print(f"  {name:<34}{counts.share:>8.2%}   0 %   of {counts.total:,}")


if __name__ == "__main__":
    main()
