"""The contract of engines, and finding them by name."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import random
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from tests.helpers import EchoEngine, FixedEngine
from zs_env import Document, SearchEngine, SearchFailure, SearchRequest, SearchResult
from zs_env.engines import checked_asearch, checked_search, load_engine
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
    results = checked_search(AsyncEchoEngine(), requests("a", "fail", "b"))
    assert [result.documents for result in results] == [(Document("a"),), (), (Document("b"),)]
    assert str(results[1].failure) == "no luck"


def test_engine_search_works_while_an_event_loop_is_running():
    """As in a notebook."""

    async def main():
        return checked_search(AsyncEchoEngine(), requests("a"))

    assert asyncio.run(main())[0].documents == (Document("a"),)


def test_engine_failure_raised_for_a_batch_is_that_of_the_request_that_fails_alone():
    class Picky(SearchEngine):
        def search(self, requests):
            if any(request.query == "fail" for request in requests):
                raise SearchFailure("no luck")
            return [SearchResult((Document(request.query),)) for request in requests]

    results = checked_search(Picky(), requests("a", "fail", "b"))
    assert [result.documents for result in results] == [(Document("a"),), (), (Document("b"),)]
    assert results[1].failure == SearchFailure("no luck")


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_engine_defects_and_interrupts_get_through(error, asynchronous):
    """Raised on the event loop, an exit once ended its thread, and the caller waited for ever."""

    class Broken(SearchEngine):
        def search(self, requests):
            raise error

    class AsyncBroken(SearchEngine):
        async def asearch(self, request):
            await asyncio.sleep(0)
            raise error

    for queries in ("a", "ab"):
        with pytest.raises(error):
            checked_search(AsyncBroken() if asynchronous else Broken(), requests(*queries))
    assert checked_search(AsyncEchoEngine(), requests("a"))[0].failure is None


def test_engine_asynchronous_has_one_loop_however_many_threads_ask():
    seen = set()

    class Watch(SearchEngine):
        async def asearch(self, request):
            seen.add(asyncio.get_running_loop())
            return SearchResult()

    with ThreadPoolExecutor(16) as executor:
        list(executor.map(lambda i: checked_search(Watch(), requests(str(i))), range(64)))
    assert len(seen) == 1


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
        checked_search(Odd(), requests("a"))


def test_engine_without_a_method_is_refused():
    with pytest.raises(TypeError, match="Idle must override `search` or `asearch`"):

        class Idle(SearchEngine):
            pass


def test_load_engine_by_name_path_entry_point_or_object(tmp_path):
    assert isinstance(load_engine("world"), WorldEngine)
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"text": "Lima is in Peru"}\n')
    assert isinstance(load_engine(corpus), BM25Engine)
    assert isinstance(load_engine({"name": "bm25", "corpus": str(corpus)}), BM25Engine)
    assert isinstance(load_engine("tests.helpers:EchoEngine"), EchoEngine)
    engine = FixedEngine()
    assert load_engine(engine) is engine


@pytest.mark.parametrize(
    ("engine", "options", "error", "message"),
    [
        ("altavista", {}, ValueError, "must be one of world, bm25, .* got 'altavista'"),
        (FixedEngine(), {"k": 1}, TypeError, "as a mapping must hold `name`"),
        ("world", {"k": 1}, TypeError, "wrong options for engine 'world': .*'k'"),
        ("tests.helpers:play", {}, TypeError, "missing"),
        ("nowhere:Engine", {}, ValueError, "there is no engine 'nowhere:Engine'"),
        ("json:Engine", {}, ValueError, "there is no engine 'json:Engine'"),
        (
            "tests.helpers:search",
            {"query": "a"},
            TypeError,
            "made a str, not a SearchEngine",
        ),
    ],
)
def test_load_engine_wrong_argument_is_refused(engine, options, error, message):
    with pytest.raises(error, match=message):
        load_engine({"name": engine, **options})


def test_load_engine_what_is_no_engine_is_refused():
    with pytest.raises(TypeError, match="`engine` must be one of world, .* got int"):
        load_engine(3)


class LoopBoundEngine(SearchEngine):
    """Holds a lock of asyncio, as HTTP clients do, and asks how many it serves at once."""

    def __init__(self):
        self.semaphore = asyncio.Semaphore(2)
        self.running = self.most = 0

    async def asearch(self, request):
        async with self.semaphore:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.001)
            self.running -= 1
        return SearchResult((Document(request.query),))


def test_engine_asynchronous_keeps_one_event_loop_over_batches():
    """With a loop for each batch, the second one failed: "bound to a different event loop"."""
    engine = LoopBoundEngine()
    for _ in range(3):
        results = checked_search(engine, requests(*"abcdef"))
        assert [result.documents[0].text for result in results] == list("abcdef")
    assert engine.most == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_engine_asynchronous_works_in_a_fork():
    checked_search(AsyncEchoEngine(), requests("before"))  # the parent has a loop
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        [result] = executor.submit(checked_search, AsyncEchoEngine(), requests("a")).result(30)
    assert result.documents == (Document("a"),)


def test_engine_search_inside_its_own_loop_is_refused_instead_of_waiting_for_ever():
    class Nested(SearchEngine):
        async def asearch(self, request):
            return AsyncEchoEngine().search([request])[0]

    with pytest.raises(RuntimeError, match="await `asearch`"):
        checked_search(Nested(), requests("a"))


def test_answer_gives_a_failure_as_a_result_and_checks_the_type():
    assert asyncio.run(checked_asearch(AsyncEchoEngine(), requests("fail")[0])) == SearchResult(
        failure=SearchFailure("no luck")
    )

    class Odd(SearchEngine):
        async def asearch(self, request):
            return "text"

    with pytest.raises(EngineContractError, match="got str"):
        asyncio.run(checked_asearch(Odd(), requests("a")[0]))


def test_search_failures_are_equal_if_they_say_the_same():
    failure = SearchFailure("timeout")
    assert failure == pickle.loads(pickle.dumps(failure)) != SearchFailure("refused")
    assert len({failure, SearchFailure("timeout")}) == 1


@pytest.mark.parametrize(
    "make",
    [lambda: Document(None), lambda: Document("a", 3), lambda: SearchResult(("a",)),
     lambda: SearchResult(Document("a"))],
)  # fmt: skip
def test_documents_of_the_wrong_type_are_refused(make):
    with pytest.raises(TypeError, match="must be"):
        make()
