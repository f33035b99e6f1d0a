"""Retrieval servers: both wire formats, over real HTTP."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import contextmanager

import pytest
from aiohttp import web

from benchmarks.chat_server import FAULTS, running
from zs_env import Document, SearchRequest
from zs_env.engines import checked_asearch, checked_search, load_engine
from zs_env.engines.usage import Usage
from zs_env.errors import ServiceError
from zs_env.testing import SearchEngineContract

QUICK = {"timeout_s": 0.5, "deadline_s": 5.0, "max_attempts": 2}


class RetrievalServer:
    """Speaks both formats; ``fault`` says how it misbehaves, for queries with "bad" in them."""

    def __init__(self, fault=None):
        self.fault = fault
        self.asked = []

    def app(self):
        app = web.Application()
        app.router.add_post("/retrieve", self.retrieve)
        return app

    async def retrieve(self, request):
        body = await request.json()
        self.asked.append(body)
        queries = body.get("queries") or [body["query"]]
        if self.fault is not None and any("bad" in query for query in queries):
            return await self.fault(request)
        if "query" in body:
            return web.json_response(
                [{"text": f"{body['query']} {i}"} for i in range(body["top_k"])]
            )
        hits = [
            [
                {"document": {"id": str(i), "contents": f'"Page {i}"\nabout {query}'}, "score": 1.0}
                for i in range(body["topk"])
            ]
            for query in queries
        ]
        if not body["return_scores"]:
            hits = [[hit["document"] for hit in row] for row in hits]
        return web.json_response({"result": hits})


@contextmanager
def engine_of(server, wire="search-r1", **options):
    with running(server.app()) as url:
        engine = load_engine(
            {"name": "retrieval", "url": f"{url}/retrieve", "wire": wire, **QUICK, **options}
        )
        try:
            yield engine
        finally:
            engine.close()


class RetrievalContract(SearchEngineContract):
    wire: str

    @pytest.fixture(autouse=True)
    def serve(self):
        with engine_of(RetrievalServer(), self.wire) as self.engine:
            yield

    def make_engine(self):
        return self.engine


class TestSearchR1Contract(RetrievalContract):
    wire = "search-r1"


class TestWikiContract(RetrievalContract):
    wire = "wiki"


def requests(*queries, top_k=2):
    return [SearchRequest(query, "?", ("x",), top_k=top_k) for query in queries]


def test_search_r1_queries_asked_at_once_share_a_request():
    server = RetrievalServer()
    with engine_of(server) as engine:
        server.asked.clear()
        found = checked_search(engine, requests("a", "b") + requests("c", top_k=1))
    assert server.asked == [{"queries": ["a", "b", "c"], "topk": 2, "return_scores": True}]
    assert found[1].documents == (Document("about b", "Page 0"), Document("about b", "Page 1"))
    assert found[2].documents == (Document("about c", "Page 0"),)


def test_search_r1_queries_of_many_callers_share_a_request():
    server = RetrievalServer()
    with engine_of(server, max_batch_size=16) as engine:
        server.asked.clear()

        async def main():
            return await asyncio.gather(
                *(checked_asearch(engine, r) for r in requests(*map(str, range(40))))
            )

        found = asyncio.run(main())
    assert [result.documents[0].text for result in found] == [f"about {i}" for i in range(40)]
    assert len(server.asked) <= 6 and max(len(body["queries"]) for body in server.asked) == 16


def test_query_that_is_under_way_is_asked_once():
    server = RetrievalServer()
    with engine_of(server) as engine:
        server.asked.clear()
        found = checked_search(engine, requests("a", "a", "a"))
    assert server.asked[0]["queries"] == ["a"] and found[0] == found[1] == found[2]


def test_wiki_is_asked_one_query_at_a_time():
    server = RetrievalServer()
    with engine_of(server, "wiki") as engine:
        server.asked.clear()
        found = checked_search(engine, requests("a", "b"))
    assert sorted(body["query"] for body in server.asked) == ["a", "b"]
    assert found[0].documents == (Document("a 0"), Document("a 1"))


@pytest.mark.parametrize("wire", ["search-r1", "wiki"])
def test_usage_counts_searches_and_failures(wire):
    async def fault(request):
        return web.json_response({}, status=400)

    with engine_of(RetrievalServer(fault), wire) as engine:
        assert engine.usage == Usage(), "the check does not count"
        checked_search(engine, requests("a", "a", "bad"))
        asyncio.run(checked_asearch(engine, requests("b")[0]))
        usage = engine.usage
    assert (usage.searches, usage.failed_searches) == (4, 1)
    assert (usage.api_searches, usage.completions) == (0, 0)
    assert 0.0 < usage.seconds < 60.0
    assert re.fullmatch(r"4 searches \(1 failed\), \d+\.\d s", str(usage))


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"result": 3}', b'{"result": [[{"id": 1}]]}', b""])
def test_answer_that_is_none_is_a_typed_failure(body):
    async def fault(request):
        return web.Response(body=body, content_type="application/json")

    with engine_of(RetrievalServer(fault)) as engine:
        [result] = checked_search(engine, requests("bad"))
        assert "given up after 2 attempts" in str(result.failure)
        assert checked_search(engine, requests("well"))[0].failure is None


@pytest.mark.parametrize("status", [200, 400, 500])
def test_query_that_breaks_its_batch_fails_alone(status):
    """All that were asked with it failed: transcripts depended on who else was playing."""

    async def fault(request):
        return web.json_response({"result": [[]] * 7}, status=status)

    with engine_of(RetrievalServer(fault)) as engine:
        found = checked_search(engine, requests("a", "bad", "b"))
    assert [result.failure is None for result in found] == [True, False, True]


@pytest.mark.parametrize("wire", ["search-r1", "wiki"])
def test_deadline_counts_what_a_query_waits_for_others(wire):
    async def fault(request):
        await asyncio.sleep(60)

    options = {"timeout_s": 30.0, "deadline_s": 0.5, "max_concurrency": 2, "max_batch_size": 1}
    with engine_of(RetrievalServer(fault), wire, **options) as engine:
        start = time.monotonic()
        found = checked_search(engine, requests(*[f"bad {i}" for i in range(60)]))
        assert time.monotonic() - start < 10.0, "15 s if each began to count when it was sent"
    assert all("deadline of 0.5 s" in str(result.failure) for result in found)


def test_secret_in_a_url_is_not_shown():
    server = RetrievalServer()
    with running(server.app()) as url:
        options = {"url": f"{url}/nowhere?token=t0ken-very-secret", "max_attempts": 1}
        with pytest.raises(ServiceError) as caught:
            load_engine({"name": "retrieval", **options})
        assert "404" in str(caught.value) and "secret" not in str(caught.value)
        engine = load_engine({"name": "retrieval", **options}, check=False)
        assert "secret" not in str(engine.identity())
        engine.close()


def test_answer_without_end_is_cut_off():
    async def fault(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 2**20)

    with engine_of(RetrievalServer(fault), timeout_s=20.0, deadline_s=30.0) as engine:
        [result] = checked_search(engine, requests("bad"))
    assert "more than 16,777,216 bytes" in str(result.failure)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("bomb", "an answer of more than 16,777,216 bytes"),
        ("bad header", "malformed HTTP"),
        ("long header", "malformed HTTP"),
        ("no HTTP", "malformed HTTP"),
        ("silence", "ServerDisconnectedError"),
    ],
)
def test_malformed_answer_is_a_typed_failure_of_that_query_alone(fault, message):
    async def answer(request):
        reply = FAULTS[fault]({})
        if reply.raw is None:
            return web.Response(body=reply.body, headers=reply.headers)
        request.transport.write(reply.raw)
        request.transport.close()
        return web.Response()

    with engine_of(RetrievalServer(answer), timeout_s=20.0, deadline_s=30.0) as engine:
        found = checked_search(engine, requests("a", "bad", "b"))
    assert [result.failure is None for result in found] == [True, False, True]
    assert message in str(found[1].failure)


def test_redirection_is_not_followed():
    async def fault(request):
        raise web.HTTPFound("http://127.0.0.1:9/")

    with engine_of(RetrievalServer(fault)) as engine:
        [result] = checked_search(engine, requests("bad"))
    assert "HTTP 302" in str(result.failure)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/retrieve", "http://nobody.invalid/retrieve"])
def test_server_that_is_down_is_one_clear_error_at_the_start(url):
    with pytest.raises(ServiceError, match="no retrieval server: .*Is `url` right?"):
        load_engine({"name": "retrieval", "url": url, **QUICK})


def test_wrong_path_is_one_clear_error_at_the_start():
    with running(RetrievalServer().app()) as url:
        with pytest.raises(ServiceError, match="HTTP 404"):
            load_engine({"name": "retrieval", "url": url})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"wire": "soap"}, ValueError, "`wire` must be one of search-r1, wiki, got 'soap'"),
        ({"max_batch_size": 0}, ValueError, "`max_batch_size` must be at least 1, got 0"),
        ({"max_batch_size": 2.5}, TypeError, "`max_batch_size` must be an integer, got 2.5"),
        ({"max_concurrency": 1.5}, TypeError, "`max_concurrency` must be an integer"),
        ({"url": []}, ServiceError, "expected a URL, or a list of one or more"),
    ],
)
def test_wrong_option_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        load_engine({"name": "retrieval", "url": "http://127.0.0.1:9", **options})
