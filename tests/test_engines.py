"""The contract of engines, and finding them by name."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.helpers import EchoEngine, FixedEngine
from zs_env import Document, SearchEngine, SearchFailure, SearchRequest, SearchResult
from zs_env.engines import answer_batch, load_engine
from zs_env.engines.bm25 import BM25Engine
from zs_env.engines.world import WorldEngine
from zs_env.errors import EngineContractError
from zs_env.testing import SearchEngineContract


class AsyncEchoEngine(SearchEngine):
    """Answers asynchronously, in random order of completion; fails where it is asked to."""

    async def asearch(self, request):
        await asyncio.sleep(random.random() * 0.01)
        if request.query == "fail":
            raise SearchFailure("no luck")
        return SearchResult((Document(request.query),))


class TestWorldEngineContract(SearchEngineContract):
    def make_engine(self):
        return load_engine("world")


class TestBM25EngineContract(SearchEngineContract):
    def make_engine(self):
        return load_engine("bm25")


class TestSyncEngineContract(SearchEngineContract):
    def make_engine(self):
        return EchoEngine()


class TestAsyncEngineContract(SearchEngineContract):
    def make_engine(self):
        return AsyncEchoEngine()


def requests(*queries):
    return [SearchRequest(query, "?", ("x",)) for query in queries]


def test_engine_one_failure_leaves_the_others_alone():
    results = answer_batch(AsyncEchoEngine(), requests("a", "fail", "b"))
    assert [result.documents for result in results] == [(Document("a"),), (), (Document("b"),)]
    assert str(results[1].failure) == "no luck"


def test_engine_search_works_while_an_event_loop_is_running():
    """As in a notebook."""

    async def main():
        return answer_batch(AsyncEchoEngine(), requests("a"))

    assert asyncio.run(main())[0].documents == (Document("a"),)


def test_engine_failure_raised_for_a_batch_fails_each_of_it():
    class Down(SearchEngine):
        def search(self, requests):
            raise SearchFailure("down")

    results = answer_batch(Down(), requests("a", "b"))
    assert [str(result.failure) for result in results] == ["down", "down"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_engine_defects_and_interrupts_get_through(error):
    class Broken(SearchEngine):
        def search(self, requests):
            raise error

    with pytest.raises(error):
        answer_batch(Broken(), requests("a"))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([], "Odd.search must return a list of 1 results, got 0"),
        (None, "got NoneType"),
        (["text"], "must return SearchResult objects, got str"),
    ],
)
def test_engine_breaking_its_contract_is_named(returned, message):
    class Odd(SearchEngine):
        def search(self, requests):
            return returned

    with pytest.raises(EngineContractError, match=message):
        answer_batch(Odd(), requests("a"))


def test_engine_without_a_method_is_refused():
    with pytest.raises(TypeError, match="Idle must override `search` or `asearch`"):

        class Idle(SearchEngine):
            pass


def test_load_engine_by_name_path_entry_point_or_object(tmp_path):
    assert isinstance(load_engine("world"), WorldEngine)
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"text": "Lima is in Peru"}\n')
    assert isinstance(load_engine(corpus), BM25Engine)
    assert isinstance(load_engine("bm25", {"corpus": str(corpus)}), BM25Engine)
    assert isinstance(load_engine("tests.helpers:EchoEngine"), EchoEngine)
    engine = FixedEngine()
    assert load_engine(engine) is engine


@pytest.mark.parametrize(
    ("engine", "options", "error", "message"),
    [
        ("google", {}, ValueError, "must be one of world, bm25, the path of a .jsonl corpus"),
        (3, {}, TypeError, "got int"),
        (FixedEngine(), {"k": 1}, ValueError, "already made"),
        ("world", {"k": 1}, TypeError, "'k'"),
        ("tests.helpers:play", {}, TypeError, "missing"),
        ("builtins:dict", {}, TypeError, "made a dict, not a zs_env.SearchEngine"),
    ],
)
def test_load_engine_wrong_argument_is_refused(engine, options, error, message):
    with pytest.raises(error, match=message):
        load_engine(engine, options)
