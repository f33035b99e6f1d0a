"""Search APIs in the formats of Serper and SerpAPI, over real HTTP."""

from __future__ import annotations

import pickle
import socket
import threading
from contextlib import contextmanager

import gymnasium as gym
import pytest
from aiohttp import web

from benchmarks.chat_server import running
from zs_env import Document, SearchRequest
from zs_env.engines import checked_search, load_engine
from zs_env.engines.usage import Usage
from zs_env.errors import ServiceError
from zs_env.testing import SearchEngineContract

KEY = "k3y-very-secret"
QUICK = {"timeout_s": 0.5, "deadline_s": 3.0, "max_attempts": 2}
VARIABLES = {"serper": "SERPER_API_KEY", "serpapi": "SERPAPI_API_KEY"}


class SearchAPI:
    """Both providers; ``status`` and ``body`` override the answer."""

    def __init__(self):
        self.status, self.body = 200, None
        self.asked = []

    def app(self):
        app = web.Application()
        app.router.add_post("/serper", self.serper)
        app.router.add_get("/serpapi", self.serpapi)
        return app

    async def serper(self, request):
        body = await request.json()
        self.asked.append((body, request.headers["X-API-KEY"]))
        return self.answer("organic", body["q"], body["num"])

    async def serpapi(self, request):
        query = request.query
        self.asked.append(({"q": query["q"], "num": int(query["num"])}, query["api_key"]))
        assert query["engine"] == "google"
        return self.answer("organic_results", query["q"], int(query["num"]))

    def answer(self, name, query, count):
        if self.body is not None:
            return web.Response(status=self.status, body=self.body.encode())
        results = [{"title": f"T{i}", "snippet": f"{query} {i}"} for i in range(count + 2)]
        return web.json_response({name: results, "searchParameters": {}})


@contextmanager
def engine_of(provider, api, monkeypatch):
    monkeypatch.setenv(VARIABLES[provider], KEY)
    with running(api.app()) as url:
        engine = load_engine(
            {"name": "google", "provider": provider, "url": f"{url}/{provider}", **QUICK}
        )
        try:
            yield engine
        finally:
            engine.close()


@pytest.fixture(params=["serper", "serpapi"])
def provider(request):
    return request.param


class TestGoogleContract(SearchEngineContract):
    @pytest.fixture(autouse=True)
    def serve(self, provider, monkeypatch):
        with engine_of(provider, SearchAPI(), monkeypatch) as self.engine:
            yield

    def make_engine(self):
        return self.engine


def ask(engine, query="río Vélez & co", top_k=2):
    return checked_search(engine, [SearchRequest(query, "?", ("x",), top_k=top_k)])[0]


def test_documents_are_titles_and_snippets(provider, monkeypatch):
    api = SearchAPI()
    with engine_of(provider, api, monkeypatch) as engine:
        result = ask(engine)
    assert api.asked == [({"q": "río Vélez & co", "num": 2}, KEY)]
    assert result.documents == (
        Document("río Vélez & co 0", "T0"),
        Document("río Vélez & co 1", "T1"),
    )


def test_usage_counts_searches_and_what_was_sent_for_them(provider, monkeypatch):
    """Those for the same query that are under way at the same time are sent, and paid for, once."""
    api = SearchAPI()
    with engine_of(provider, api, monkeypatch) as engine:
        assert engine.usage == Usage(), "the check sends nothing"
        queries = ("a", "a", "b")
        checked_search(engine, [SearchRequest(query, "?", ("x",)) for query in queries])
        usage = engine.usage
        assert (usage.searches, usage.failed_searches, usage.api_searches) == (3, 0, 2)
        assert usage.search_api_cost(0.5) == 1.0
        assert str(usage).startswith("3 searches (0 failed), 2 sent to a search API, ")
        assert str(usage).endswith(" s; about 0.02 USD")
        api.status, api.body = 500, "down"
        assert ask(engine).failure is not None
        assert (usage.searches, usage.failed_searches, usage.api_searches) == (4, 1, 3)
        assert len(api.asked) == 4, "a query that is tried again is counted once"
        assert 0.0 < usage.seconds < 60.0


@pytest.mark.parametrize("body", ["{}", '{"organic": [], "organic_results": []}'])
def test_no_results_are_no_failure(provider, monkeypatch, body):
    api = SearchAPI()
    api.body = body
    with engine_of(provider, api, monkeypatch) as engine:
        assert ask(engine).documents == () and ask(engine).failure is None


def test_result_without_snippet_or_title_is_taken_as_it_is(provider, monkeypatch):
    api = SearchAPI()
    rows = '[{"title": "T"}, {"snippet": "S"}]'
    api.body = f'{{"organic": {rows}, "organic_results": {rows}}}'
    with engine_of(provider, api, monkeypatch) as engine:
        assert ask(engine).documents == (Document("", "T"), Document("S", ""))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, f"invalid key {KEY}"),
        (403, f'{{"message": "Unauthorized {KEY}"}}'),
        (429, KEY),
        (500, f"at /search?api_key={KEY}"),
        (200, f"[{{}}, '{KEY}'"),
        (200, f'["{KEY}"]'),
    ],
)
def test_key_reaches_no_failure_spec_or_pickle(provider, monkeypatch, status, body, caplog):
    api = SearchAPI()
    api.status, api.body = status, body
    with engine_of(provider, api, monkeypatch) as engine:
        failure = ask(engine).failure
        assert failure is not None and KEY not in str(failure) + repr(failure)
        assert KEY not in str(engine.identity()) + str(vars(engine))
        assert KEY.encode() not in pickle.dumps(engine)
        assert KEY.encode() not in pickle.dumps(failure)
    assert KEY not in caplog.text


def test_key_is_not_in_the_failure_of_a_server_that_is_down(provider, monkeypatch):
    monkeypatch.setenv(VARIABLES[provider], KEY)
    options = {"provider": provider, "url": "http://127.0.0.1:9/x", **QUICK}
    env = gym.make("ZeroSearch-v0", engine={"name": "google", **options})
    env.reset(seed=0)
    assert env.step("<search>a</search>")[4]["search_failed"]
    failure = ask(env.unwrapped.source.engine).failure
    assert "127.0.0.1:9" in str(failure) and KEY not in str(failure)
    assert KEY not in env.spec.to_json() + repr(env)
    env.close()


def test_key_is_not_in_the_failure_of_a_server_that_speaks_no_http(provider, monkeypatch):
    """The whole URL stood in the error, where the key is percent-encoded."""
    key = "k3y+very/secret="
    monkeypatch.setenv(VARIABLES[provider], f"{key}\n")

    def babble(listener):
        for _ in range(2):
            connection, _ = listener.accept()
            connection.recv(1)
            connection.sendall(b"SSH-2.0 what?\r\n\r\n")
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=babble, args=[listener], daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        engine = load_engine({"name": "google", "provider": provider, "url": url, **QUICK})
        failure = str(ask(engine).failure)
        engine.close()
        thread.join()
    assert "given up after 2 attempts" in failure
    assert "very" not in failure and "secret=" not in failure and "secret%3D" not in failure


def test_missing_key_is_one_clear_error_at_the_start(provider, monkeypatch):
    monkeypatch.delenv(VARIABLES[provider], raising=False)
    with pytest.raises(ServiceError, match=f"set the environment variable {VARIABLES[provider]}"):
        load_engine({"name": "google", "provider": provider})
    monkeypatch.setenv("MINE", "k")
    load_engine({"name": "google", "provider": provider, "key_env": "MINE"}).close()


def test_key_that_cannot_be_sent_is_one_clear_error_at_the_start(provider, monkeypatch):
    monkeypatch.setenv(VARIABLES[provider], "k3y-one\nk3y-two")
    with pytest.raises(ServiceError, match=f"variable {VARIABLES[provider]} must hold") as error:
        load_engine(f"google,provider={provider}")
    assert "k3y" not in str(error.value)


def test_unknown_provider_is_refused():
    with pytest.raises(ValueError, match="one of serper, serpapi, got 'bing'"):
        load_engine({"name": "google", "provider": "bing"})
