"""Benchmarks: the protocol, its hashes, and the plans that follow from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zs_env.documents import SearchResult
from zs_env.engines import world as world_engine
from zs_env.engines.bm25 import BM25Engine
from zs_env.errors import RecordError
from zs_env.evaluation import benchmarks
from zs_env.evaluation.benchmark_hashes import BenchmarkChanged, check_hashes, hashes_of
from zs_env.evaluation.benchmark_plans import FIXED, plans_of
from zs_env.evaluation.benchmarks import BENCHMARKS, WORLD_V1, Chosen, find_benchmark
from zs_env.evaluation.models import write_options
from zs_env.world import load_world


def test_protocol_of_world_v1():
    """What a name stands for never changes."""
    assert BENCHMARKS == {"world-v1": WORLD_V1}
    assert (WORLD_V1.top_k, WORLD_V1.document_words) == (3, 15)
    assert WORLD_V1.num_questions == {0: 300, 101: 150, 102: 150}
    easy, standard, hard = WORLD_V1.tiers
    assert [tier.name for tier in WORLD_V1.tiers] == ["easy", "standard", "hard"]
    assert (easy.engine, easy.noise, easy.max_turns, easy.kinds) == ("world", 0.0, 5, "1-hop+2-hop")
    assert (standard.engine, standard.noise, standard.max_turns) == ("bm25", 0.0, 8)
    assert (hard.engine, hard.noise, hard.max_turns) == ("world,mixture=natural", 0.5, 15)
    assert [tier.world_size for tier in WORLD_V1.tiers] == ["small", "small", "hard"]
    assert standard.kinds is hard.kinds is None


def test_world_v1_is_what_it_was():
    check_hashes(find_benchmark("world-v1"))


def test_find_benchmark_takes_a_tier():
    assert find_benchmark("world-v1") == Chosen(WORLD_V1, WORLD_V1.tiers)
    chosen = find_benchmark({"name": "world-v1", "tier": "hard"})
    assert chosen.tiers == WORLD_V1.tiers[2:]
    assert find_benchmark(WORLD_V1.part(chosen.tiers[0])) == chosen


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (
            "world-v2",
            ValueError,
            "must be one of world-v1, got 'world-v2' .did you mean 'world-v1'",
        ),
        ("hotpotqa", ValueError, "must be one of world-v1, got 'hotpotqa'"),
        ("world-v1,tier=hart", ValueError, "easy, standard, hard, got 'hart' .did you mean 'hard'"),
        ("world-v1,tier=3", ValueError, "easy, standard, hard, got 3"),
        ("world-v1,level=hard", TypeError, "only the option 'tier', got level"),
    ],
)
def test_unknown_benchmarks_and_tiers_are_refused(spec, error, message):
    with pytest.raises(error, match=message):
        find_benchmark(spec)


def test_plans_follow_from_the_protocol():
    plans = plans_of(find_benchmark("world-v1"), "solver", given={"max_turn_tokens": 7})
    for plan, tier in zip(plans, WORLD_V1.tiers, strict=True):
        options = plan.options
        assert plan.benchmark == f"world-v1,tier={tier.name}" and plan.method == "solver"
        assert list(plan.engines) == [tier.engine] and len(plan.questions) == 3
        assert (plan.repeats, plan.seed, plan.num_questions) == (1, 0, None)
        assert (options.max_turns, options.noise) == (tier.max_turns, tier.noise)
        assert (options.top_k, options.document_words, options.temperature) == (3, 15, 0.0)
        assert options.max_turn_tokens == 7


@pytest.mark.parametrize("name", FIXED)
def test_what_a_benchmark_fixes_cannot_be_given(name):
    with pytest.raises(ValueError, match=f"fixes --{name.replace('_', '-')}: leave that out"):
        plans_of(find_benchmark("world-v1"), "solver", given={name: 1})


def test_a_checkpoint_keeps_its_turns_but_reads_as_far_as_its_model(tmp_path):
    """It was trained on shorter episodes: their length is none of the benchmark's."""
    trained = {"max_turns": 4, "top_k": 1, "max_context": 640, "max_turn_tokens": 24, "noise": 0.2}
    write_options(tmp_path, trained, "world")
    chosen = find_benchmark("world-v1,tier=standard")
    [options] = [plan.options for plan in plans_of(chosen, model=tmp_path)]
    assert (options.max_turns, options.top_k, options.noise) == (8, 3, 0.0)
    assert (options.max_turn_tokens, options.max_context) == (24, None)
    [plan] = plans_of(chosen, model=tmp_path, given={"max_context": 900})
    assert plan.options.max_context == 900


def tier_of(**changes):
    """A tier of ten questions of the tiny world, with its hashes."""
    tier = benchmarks.Tier("one", "tiny", "world", max_turns=3, **changes)
    return replace(tier, hashes={0: hashes_of(TINY, tier, 0)})


TINY = benchmarks.Benchmark("tiny-v1", (), num_questions={0: 10})


def test_hashes_follow_from_questions_corpus_and_documents():
    tier = tier_of()
    questions, documents = hashes_of(TINY, tier, 0)
    assert hashes_of(TINY, tier, 0) == (questions, documents)
    assert questions.startswith("10:")
    other_questions, other_documents = hashes_of(replace(TINY, num_questions={0: 11}), tier, 0)
    assert other_questions != questions and other_documents != documents
    longer = hashes_of(replace(TINY, document_words=30), tier, 0)
    assert longer[0] == questions and longer[1] != documents
    real = hashes_of(TINY, replace(tier, engine="bm25"), 0)
    assert real == hashes_of(TINY, replace(tier, engine="bm25"), 0)
    assert real[1] not in (documents, hashes_of(replace(TINY, top_k=1), tier, 0)[1])
    assert hashes_of(TINY, replace(tier, noise=0.5), 0)[1] != documents


def test_hash_holds_how_a_real_engine_ranks(monkeypatch):
    """Only the corpus was hashed: BM25 could have ranked it otherwise, and nobody would know."""
    tier = replace(tier_of(), engine="bm25")
    before = hashes_of(TINY, tier, 0)
    search = BM25Engine.search

    def reversed_search(self, requests):
        results = search(self, requests)
        return [SearchResult(result.documents[::-1]) for result in results]

    monkeypatch.setattr(BM25Engine, "search", reversed_search)
    questions, documents = hashes_of(TINY, tier, 0)
    assert questions == before[0] and documents != before[1]


def test_hash_holds_how_queries_for_facts_are_read(monkeypatch):
    """Only whole questions were asked, which no agent searches for."""
    tier = benchmarks.Tier("two", "small", "world", max_turns=5, kinds="2-hop")
    before = hashes_of(TINY, tier, 0)
    read = world_engine.read_query
    whole = {question.text for question in load_world(0, "small").questions("test")}

    def worse(world, query):
        reading = read(world, query)
        return reading if query in whole else reading._replace(asked=[])

    monkeypatch.setattr(world_engine, "read_query", worse)
    assert hashes_of(TINY, tier, 0)[1] != before[1]


@pytest.mark.parametrize(("place", "what"), [(0, "questions"), (1, "documents")])
def test_a_benchmark_that_changed_is_refused(place, what):
    tier = tier_of()
    benchmark = replace(TINY, tiers=(tier,))
    check_hashes(Chosen(benchmark, benchmark.tiers))
    hashes = list(tier.hashes[0])
    hashes[place] = "0"
    changed = replace(tier, hashes={0: tuple(hashes)})
    with pytest.raises(BenchmarkChanged, match=f"{what} of tiny-v1,tier=one .* new benchmark"):
        check_hashes(Chosen(benchmark, (changed,)))
    assert issubclass(BenchmarkChanged, RecordError)
