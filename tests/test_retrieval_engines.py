"""Any engine behind the retrieval server, over real HTTP, and the engine that asks it."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import contextmanager

import gymnasium as gym
import pytest
from aiohttp import web

from benchmarks.chat_server import MODEL, ChatServer, Reply, good, running
from tests.helpers import EchoEngine, FixedEngine, mixed_policy
from tests.retrieval_servers import health_of, post, post_refused, run_in_process, serving
from zs_env import Document, SearchEngine, SearchFailure, SearchRequest, SearchResult
from zs_env.engines import checked_asearch, checked_search, load_engine
from zs_env.engines.retrieval_request import Defaults
from zs_env.engines.retrieval_server import make_app, make_runner
from zs_env.errors import ServiceError
from zs_env.keyed_random import derive_key, uniform
from zs_env.testing import SearchEngineContract

QUERY = "birthplace of Ada Blake"


@pytest.fixture(scope="module")
def world_url():
    with serving("--engine", "world", "--noise", "0.5", "--seed", "3") as (_, url):
        yield url


@pytest.fixture(scope="module")
def chat_url():
    """A language model that fails where it reads "bad", and says so with its key."""

    def plan(body, attempt):
        if "bad" in body["messages"][-1]["content"]:
            return Reply(status=400, body=b"not for you")
        return good(body)

    with running(ChatServer(plan).app()) as url:
        yield f"{url}/v1"


def simulated(chat_url):
    return {"name": "simulated", "base_url": chat_url, "model": MODEL, "max_attempts": 2}


def ask(session, url, **body):
    return session.post(f"{url}/retrieve", json=body)


def many_requests(count=60):
    return [
        SearchRequest(
            query=f"{'bad ' if i % 7 == 3 else ''}birthplace of Ada Blake {i % 50}",
            question=f"Where was Ada Blake born? {i % 40}",
            golden_answers=("Jarrow Corvale", f"x{i}")[: i % 3],
            noisy=bool(i % 2),
            turn=i % 4,
            top_k=1 + i % 5,
            document_words=(12, 30)[i % 2],
            key=derive_key(i // 2),
        )
        for i in range(count)
    ]


def contents_of(found):
    return [hit["document"]["contents"] for hit in found]


def shown(result):
    return [f'"{document.title}"\n{document.text}' for document in result.documents]


def test_plain_request_is_answered_with_keys_and_noise_that_follow_from_the_query(world_url):
    queries = [f"{QUERY} {i}" for i in range(20)]
    body = {"queries": queries, "topk": 4, "return_scores": True}
    found = post(world_url, body)["result"]
    keys = [derive_key("retrieval", 3, query, query) for query in queries]
    noisy = [uniform("noise", key, 0) < 0.5 for key in keys]
    assert 3 < sum(noisy) < 17
    expected = checked_search(
        load_engine("world"),
        [
            SearchRequest(query, query, (), label, 0, 4, 30, key)
            for query, label, key in zip(queries, noisy, keys, strict=True)
        ],
    )
    assert list(map(contents_of, found)) == list(map(shown, expected))
    assert [hit["score"] for hit in found[0]] == [1.0, 1 / 2, 1 / 3, 1 / 4]
    assert len({hit["document"]["id"] for hit in found[0]}) == 4
    assert post(world_url, {**body, "queries": queries[5:6]})["result"] == [found[5]]


def test_plain_request_can_bring_its_own_noise_probability(world_url):
    body = {"queries": [QUERY] * 3, "questions": ["a", "b", "c"], "return_details": True}
    for share in (0, 1.0):
        assert post(world_url, {**body, "noise_probability": share})["noisy"] == [bool(share)] * 3
    labels = [True, False, True]
    answer = post(world_url, {**body, "noisy": labels})
    assert answer["noisy"] == labels
    assert answer["failures"] == [None] * 3 and answer["honours_noise"] is True


def test_one_query_may_stand_alone(world_url):
    """As SkyRL asks, whose documents of the only query are read as those of a list."""
    body = {"topk": 2, "return_scores": True}
    found = post(world_url, {"query": QUERY, **body})
    assert found == post(world_url, {"queries": [QUERY], **body}) and len(found["result"]) == 1
    assert post_refused(world_url, {"query": [QUERY], **body})[0] == 400


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"questions": "a"}, '`questions` must be a list of strings, got "a".'),
        ({"questions": ["a", None]}, '`questions` must be a list of strings, got ["a", null].'),
        ({"questions": ["a"]}, "`questions` must be as many as the 2 `queries`, got 1."),
        ({"golden_answers": ["a", "b"]}, "`golden_answers` must be a list of lists of strings"),
        ({"golden_answers": [["a"], [1]]}, "`golden_answers` must be a list of lists of strings"),
        ({"noisy": [1, 0]}, "`noisy` must be a list of true or false, got [1, 0]."),
        ({"noisy": True}, "`noisy` must be a list of true or false, got true."),
        ({"noise_probability": 1.5}, "`noise_probability` must be a number in [0, 1], or null"),
        ({"noise_probability": True}, "`noise_probability` must be a number in [0, 1], or null"),
        ({"noisy": [True, True], "noise_probability": 0.5}, "exclude each other"),
        ({"keys": [1, -1]}, "`keys` must be a list of integers in [0, 2**64), got [1, -1]."),
        ({"keys": [1, 2**64]}, "`keys` must be a list of integers in [0, 2**64)"),
        ({"keys": [1, 1.0]}, "`keys` must be a list of integers in [0, 2**64)"),
        ({"turns": [0, -1]}, "`turns` must be a list of integers of at least 0, got [0, -1]."),
        ({"document_words": 0}, "`document_words` must be an integer from 1 to 1000, or null"),
        ({"document_words": [5, 5]}, "`document_words` must be an integer from 1 to 1000"),
        ({"return_details": "yes"}, '`return_details` must be true or false, got "yes".'),
    ],
)
def test_wrong_optional_field_is_told_what_is_expected(world_url, fields, message):
    status, error = post_refused(world_url, {"queries": ["a", "b"], **fields})
    assert status == 400 and message in error


def test_optional_fields_that_are_null_are_not_given(world_url):
    names = "questions golden_answers noisy noise_probability keys turns document_words".split()
    plain = {"queries": [QUERY], "topk": 2}
    assert post(world_url, {**plain, **dict.fromkeys(names)}) == post(world_url, plain)


def test_query_without_a_word_finds_nothing_and_is_not_asked():
    engine = FixedEngine("page")

    async def use(session, url):
        async with ask(session, url, queries=["", " \n ", "<search>a\nb</search>"]) as response:
            found = (await response.json())["result"]
        assert [len(hits) for hits in found] == [0, 0, 1]

    run_in_process(engine, use)
    assert [request.query for request in engine.requests] == ["[search]a b[/search]"]


def test_whole_request_reaches_the_engine_as_it_was_sent():
    engine = EchoEngine()
    requests = many_requests()
    expected = checked_search(engine, requests)
    with serving_here(engine) as url:
        asked = load_engine({"name": "retrieval", "url": url, "send_request": True})
        assert asked.honours_noise
        assert checked_search(asked, requests) == expected
        asked.close()


@contextmanager
def serving_here(engine, *arguments, **options):
    """The address of a server in a thread of this process."""
    with running(make_app(engine, *arguments, **options)) as url:
        yield f"{url}/retrieve"


@pytest.mark.parametrize("max_batch_size", [None, 16])
def test_served_engine_gives_what_the_engine_in_the_process_gives(world_url, max_batch_size):
    requests = many_requests()
    spec = {"name": "retrieval", "url": world_url, "send_request": True}
    served = load_engine({**spec, "max_batch_size": max_batch_size})
    expected = checked_search(load_engine("world"), requests)
    assert checked_search(served, requests) == expected
    assert served.usage.searches == 60 and served.usage.failed_searches == 0
    served.close()


def test_served_simulation_llm_gives_what_it_gives_in_the_process_failures_too(chat_url):
    spec = simulated(chat_url)
    requests = many_requests()
    engine = load_engine(spec)
    expected = checked_search(engine, requests)
    engine.close()
    failed = [result.failure for result in expected if result.failure is not None]
    assert len(failed) == 9 and "HTTP 400" in str(failed[0])
    with serving("--engine", json.dumps(spec)) as (_, url):
        served = load_engine({"name": "retrieval", "url": url, "send_request": True})
        assert checked_search(served, requests) == expected
        counts = health_of(url)
        served.close()
    assert (counts["searches"], counts["failed_searches"]) == (60, 9)
    assert counts["status"] == "ok" and counts["seconds"] > 0.0


def transcripts(engine):
    episodes = []
    env = gym.make("ZeroSearch-v0", engine=engine, noise="constant", noise_end=0.5)
    for seed in range(40):
        observation, _ = env.reset(seed=seed)
        while not env.unwrapped.episode.finished:
            observation = env.step(mixed_policy(observation))[0]
        episodes.append(env.unwrapped.episode)
    env.close()
    return [(e.transcript, [s.noisy for s in e.segments], e.reward, e.info()) for e in episodes]


def test_episodes_against_a_served_engine_are_those_against_the_engine(world_url):
    served = transcripts({"name": "retrieval", "url": world_url, "send_request": True})
    assert served == transcripts("world")
    assert any(True in noisy for _, noisy, *_ in served)


def test_engine_without_whole_requests_gets_no_noise_label(world_url):
    env = gym.make("ZeroSearch-v0", engine={"name": "retrieval", "url": world_url}, noise_start=1.0)
    env.reset(seed=0)
    assert env.step(f"<search>{QUERY}</search>")[4]["noisy"] is False
    env.close()


class TestServedEngineContract(SearchEngineContract):
    @pytest.fixture(autouse=True)
    def serve(self, world_url):
        spec = {"name": "retrieval", "url": world_url, "send_request": True}
        self.engine = load_engine(spec)
        yield
        self.engine.close()

    def make_engine(self):
        return self.engine


class Moody(SearchEngine):
    """Fails where it is asked to."""

    async def asearch(self, request):
        if "bad" in request.query:
            return SearchResult(failure=SearchFailure(f"no luck with {request.query}"))
        return SearchResult((Document("page", "A\ntitle"),))


def test_failed_search_is_no_document_but_a_status_or_a_detail():
    async def use(session, url):
        async with ask(session, url, queries=["a", "bad", "b", "bad 2"]) as response:
            assert response.status == 502
            error = (await response.json())["error"]
        assert error == "2 of 4 searches failed: no luck with bad"
        details = {"queries": ["a", "bad"], "return_details": True}
        async with ask(session, url, **details) as response:
            assert response.status == 200
            answer = await response.json()
        assert [len(found) for found in answer["result"]] == [1, 0]
        assert answer["failures"] == [None, "no luck with bad"]
        assert answer["result"][0][0]["contents"] == '"A title"\npage'
        async with session.get(f"{url}/health") as response:
            counts = await response.json()
        assert (counts["searches"], counts["failed_searches"]) == (6, 3)

    run_in_process(Moody(), use)


def test_failed_search_is_without_documents_for_clients_that_know_no_failures():
    async def use(session, url):
        async with ask(session, url, queries=["a", "bad"]) as response:
            assert [len(found) for found in (await response.json())["result"]] == [1, 0]
        async with session.get(f"{url}/health") as response:
            assert (await response.json())["failed_searches"] == 1

    run_in_process(Moody(), use, failures="empty")


def test_plain_client_sees_the_failure_of_its_own_query_alone():
    with serving_here(Moody()) as url:
        engine = load_engine({"name": "retrieval", "url": url, "max_attempts": 1})
        requests = [SearchRequest(query, "?", ()) for query in ("a", "bad", "b")]
        found = checked_search(engine, requests)
        engine.close()
    assert [result.failure is None for result in found] == [True, False, True]
    assert "no luck with bad" in str(found[1].failure)


def test_secret_of_an_engine_is_not_in_what_its_server_says():
    async def tell(request):
        text = f"I was asked with {request.query_string}"
        return web.Response(status=400 if (await request.json())["queries"] else 200, text=text)

    app = web.Application()
    app.router.add_post("/retrieve", tell)
    with running(app) as inner:
        spec = {"name": "retrieval", "url": f"{inner}/retrieve?token=very-secret-t0ken"}
        engine = load_engine(spec, check=False)

        async def use(session, url):
            async with ask(session, url, queries=["a"]) as response:
                error = (await response.json())["error"]
            assert "I was asked with token=[secret]" in error and "t0ken" not in error

        run_in_process(engine, use)
        engine.close()


def test_real_engine_ignores_noise_and_says_so():
    async def use(session, url):
        asked = {"queries": ["Lima"], "noisy": [True], "return_details": True}
        async with ask(session, url, **asked) as response:
            answer = await response.json()
        assert answer["noisy"] == [False] and answer["honours_noise"] is False

    run_in_process(load_engine("bm25"), use, Defaults(noise_probability=1.0))


def plain_server():
    """A server of Search-R1's format that knows no other field."""

    async def retrieve(request):
        body = await request.json()
        hit = {"document": {"id": "1", "contents": '"a"\nb'}, "score": 1.0}
        return web.json_response({"result": [[hit] for _ in body["queries"]]})

    app = web.Application()
    app.router.add_post("/retrieve", retrieve)
    return app


def test_server_that_cannot_use_whole_requests_is_one_clear_error():
    spec = {"name": "retrieval", "send_request": True}
    with running(plain_server()) as url:
        with pytest.raises(ServiceError, match="it ignores whole requests: start it by `zs-env"):
            load_engine({**spec, "url": f"{url}/retrieve"})
    with serving_here(load_engine("bm25")) as url:
        with pytest.raises(ServiceError, match="it serves a real engine, which has no noisy"):
            load_engine({**spec, "url": url})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"send_request": "yes"}, TypeError, "`send_request` must be true or false, got 'yes'"),
        ({"send_request": True, "wire": "wiki"}, ValueError, "`send_request` needs `wire` search"),
    ],
)
def test_wrong_option_of_the_client_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        load_engine({"name": "retrieval", "url": "http://127.0.0.1:9", **options})


def test_identity_says_whether_whole_requests_are_sent():
    """Records of a real server must not be replayed as those of a simulated one."""
    spec = {"name": "retrieval", "url": "http://127.0.0.1:9/retrieve"}
    plain, whole = (
        load_engine({**spec, "send_request": send}, check=False) for send in (False, True)
    )
    request = SearchRequest("a", "q", ("x",), key=4)
    assert "send_request" not in plain.identity() and whole.identity()["send_request"] is True
    assert plain.cache_key(request) == ("a", 5) and whole.cache_key(request) == request


class Slow(SearchEngine):
    """Waits until it is told to go on; counts what is under way."""

    def __init__(self):
        self.asked = self.under_way = self.most = self.cancelled = 0

    async def asearch(self, request):
        self.asked += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(60 if request.query == "for ever" else 0.01)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        return SearchResult((Document(request.query),))


def test_quick_search_does_not_wait_for_a_slow_one():
    """A simulation LLM may take a minute for one query, and a second for the next."""
    with serving_here(Slow()) as url:
        engine = load_engine({"name": "retrieval", "url": url, "send_request": True})

        async def main():
            slow, quick = (SearchRequest(query, "?", ()) for query in ("for ever", "quick"))
            waiting = asyncio.create_task(checked_asearch(engine, slow))
            found = await checked_asearch(engine, quick)
            assert found.documents == (Document("quick"),) and not waiting.done()
            waiting.cancel()

        asyncio.run(main())
        engine.close()


def test_searches_at_the_same_time_are_limited_across_clients():
    engine = Slow()

    async def use(session, url):
        async def retrieve(number):
            queries = [f"{number} {i}" for i in range(20)]
            async with ask(session, url, queries=queries) as response:
                found = (await response.json())["result"]
            assert [hits[0]["contents"] for hits in found] == [f'""\n{query}' for query in queries]

        await asyncio.gather(*map(retrieve, range(5)))

    run_in_process(engine, use, max_concurrency=7)
    assert engine.asked == 100 and engine.most == 7


def test_searches_of_a_client_that_has_left_end():
    engine = Slow()

    async def use(session, url):
        body = {"queries": ["for ever"] * 10}
        task = asyncio.create_task(session.post(f"{url}/retrieve", json=body))
        while engine.under_way < 4:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        while engine.under_way:
            await asyncio.sleep(0.01)
        async with ask(session, url, queries=["quick"]) as response:
            assert response.status == 200, "it goes on"

    run_in_process(engine, use, max_concurrency=4)
    assert engine.cancelled == 4 and engine.asked == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"failures": "hide"}, "`failures` must be one of error, empty, got 'hide'"),
        ({"max_concurrency": 0}, "`max_concurrency` must be at least 1, got 0"),
    ],
)
def test_wrong_option_of_the_server_is_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_runner(make_app(EchoEngine(), **options))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"noise_probability": 2}, "`noise_probability` must be a number in [0, 1], got 2."),
        ({"document_words": 0}, "`document_words` must be an integer from 1 to 1000"),
        ({"seed": -1}, "`seed` must be at least 0, got -1."),
    ],
)
def test_wrong_default_of_the_server_is_refused(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Defaults(**values)
