"""The retrieval server, over real HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.retrieval_servers import ROOT, health_of, post, post_refused, run_in_process, serving
from zs_env import Document, SearchRequest
from zs_env.engines import checked_search, load_engine, retrieval_answers, retrieval_server
from zs_env.engines.bm25 import BM25Engine, load
from zs_env.engines.retrieval_request import MAX_QUERIES, MAX_QUERY_CHARS, Defaults
from zs_env.engines.retrieval_server import MAX_BODY_BYTES, make_app

ROWS = [
    {"id": "p-1", "title": "Lima", "text": "Lima is the capital of Peru."},
    {"text": "Cusco is old."},
    {"id": 9, "contents": '"Peru"\nPeru exports copper.'},
    *({"text": f"Number word{number}."} for number in range(100)),
]
LIMA = {"id": "p-1", "contents": '"Lima"\nLima is the capital of Peru.'}
CUSCO_TEXT = "Cusco is old."
CUSCO = {"id": "1", "contents": '""\nCusco is old.'}
PERU = {"id": "9", "contents": '"Peru"\nPeru exports copper.'}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    with serving("--corpus", folder / "c.jsonl", "--index", folder / "index") as (_, url):
        yield url


def test_server_answers_in_the_format_of_search_r1(url):
    queries = ["capital of Peru", "Cusco", "unheard"]
    assert post(url, {"queries": queries}) == {"result": [[LIMA, PERU], [CUSCO], []]}
    assert post(url, {"queries": queries, "topk": 1}) == {"result": [[LIMA], [CUSCO], []]}
    assert post(url, {"queries": []}) == {"result": []}


def test_server_gives_the_scores_of_bm25(url, tmp_path):
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    expected = [found.score for found in load(tmp_path / "c.jsonl").rank("capital of Peru", 5)]
    body = {"queries": ["capital of Peru"], "topk": None, "return_scores": True}
    [found] = post(url, body)["result"]
    assert [each["document"] for each in found] == [LIMA, PERU]
    assert [each["score"] for each in found] == expected
    assert expected[0] > expected[1] > 0


def test_server_is_what_the_engine_for_retrieval_servers_asks(url):
    engine = load_engine({"name": "retrieval", "url": url})
    results = checked_search(
        engine, [SearchRequest(query, "?", ("x",), top_k=2) for query in ("Peru", "Cusco", "none")]
    )
    engine.close()
    lima, peru = Document(ROWS[0]["text"], "Lima"), Document("Peru exports copper.", "Peru")
    assert [result.documents for result in results] == [(peru, lima), (Document(CUSCO_TEXT),), ()]


def test_server_gives_three_documents_where_the_request_does_not_say(url):
    [found] = post(url, {"queries": ["number"]})["result"]
    assert len(found) == 3
    [found] = post(url, {"queries": ["number"], "topk": 50, "unknown": 1})["result"]
    assert len(found) == 50


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[", "the body must be JSON: "),
        (b"\xff\xfe\xff", "the body must be JSON: "),
        (b"[" * 100_000, "the body must be JSON: "),
        (b"", "the body must be JSON: "),
        ([], "the body must be a JSON object, got []."),
        ({}, "`queries` must be a list of strings, got null."),
        ({"queries": "Lima"}, '`queries` must be a list of strings, got "Lima".'),
        ({"queries": ["a", 1]}, '`queries` must be a list of strings, got ["a", 1].'),
        ({"queries": ["a"] * (MAX_QUERIES + 1)}, "`queries` must be at most 10000, got 10001."),
        ({"queries": ["a"], "topk": 0}, "`topk` must be an integer from 1 to 1000, or null, got 0"),
        ({"queries": ["a"], "topk": 1001}, "or null, got 1001."),
        ({"queries": ["a"], "topk": True}, "or null, got true."),
        ({"queries": ["a"], "topk": "3"}, 'or null, got "3".'),
        ({"queries": ["a"], "topk": 2.0}, "or null, got 2.0."),
        ({"queries": ["a"], "return_scores": 1}, "`return_scores` must be true or false, got 1."),
        ({"queries": ["a"] * 31, "topk": 1000}, "`queries` by `topk` must be at most 30000"),
        ({"queries": ["a"] * 7501, "topk": 4}, "30000 documents, got 30004."),
    ],
)
def test_server_wrong_request_is_told_what_is_expected(url, body, message):
    status, error = post_refused(url, body)
    assert status == 400 and message in error
    assert post(url, {"queries": ["Cusco"]}) == {"result": [[CUSCO]]}, "it goes on"


def test_server_refuses_a_body_that_is_too_large(url):
    status, error = post_refused(url, b" " * (MAX_BODY_BYTES + 1))
    assert status == 413 and str(MAX_BODY_BYTES) in error


def test_server_has_two_places(url):
    assert health_of(url)["status"] == "ok"
    assert post_refused(url.replace("/retrieve", "/"), {})[0] == 404
    assert post_refused(url.replace("/retrieve", "/health"), {})[0] == 405


def test_server_reads_the_beginning_of_a_long_query(url):
    far = "x " * (MAX_QUERY_CHARS // 2)
    assert post(url, {"queries": [f"Cusco {far} Lima", far + "Lima"]}) == {"result": [[CUSCO], []]}


def test_server_tells_many_clients_apart(url):
    def ask(number):
        queries = [f"word{(number + i) % 100}" for i in range(40)]
        return [found[0]["contents"] for found in post(url, {"queries": queries})["result"]]

    with ThreadPoolExecutor(16) as executor:
        for number, found in enumerate(executor.map(ask, range(100))):
            assert found == [f'""\nNumber word{(number + i) % 100}.' for i in range(40)]


def test_server_answers_others_while_it_searches():
    engine = BM25Engine([Document("Lima")])
    searching, go_on, rank = threading.Event(), threading.Event(), engine.rank

    def slow_rank(query, top_k):
        if query == "slow Lima":
            searching.set()
            assert go_on.wait(60)
        return rank(query, top_k)

    engine.rank = slow_rank

    async def use(session, url):
        async def retrieve(query):
            async with session.post(f"{url}/retrieve", json={"queries": [query]}) as response:
                return await response.json()

        slow = asyncio.create_task(retrieve("slow Lima"))
        await asyncio.to_thread(searching.wait, 60)
        quick = await retrieve("Lima")
        assert quick["result"] == [[{"id": "0", "contents": '""\nLima'}]] and not slow.done()
        go_on.set()
        assert await slow == quick

    run_in_process(engine, use)


def test_server_allows_as_many_documents_as_queries_at_its_own_default(url):
    found = post(url, {"queries": ["Cusco"] * MAX_QUERIES})["result"]
    assert found == [[CUSCO]] * MAX_QUERIES


def test_server_counts_what_it_has_served(url):
    before = health_of(url)
    post(url, {"queries": ["Cusco", "Lima", "none"]})
    post_refused(url, {"queries": "Lima"})
    after = health_of(url)
    assert after["searches"] - before["searches"] == 3
    assert after["failed_searches"] == before["failed_searches"] == 0
    assert after["seconds"] > before["seconds"]


def test_server_refuses_an_answer_that_is_too_large_and_stops_searching():
    """17 kB could ask for 60 MB."""
    engine = BM25Engine([Document("Lima " + "x" * 2**20)])
    asked, rank = [], engine.rank
    engine.rank = lambda query, top_k: asked.append(query) or rank(query, top_k)

    async def use(session, url):
        async with session.post(f"{url}/retrieve", json={"queries": ["Lima"] * 200}) as response:
            assert response.status == 400
            error = (await response.json())["error"]
        assert error.startswith("an answer must have at most 16777216 bytes: ask for fewer")

    run_in_process(engine, use)
    assert len(asked) == retrieval_answers.CHUNK


def test_server_defect_is_an_answer_and_is_logged(caplog):
    engine = BM25Engine([Document("Lima")])
    engine.rank = lambda query, top_k: 1 / 0

    async def use(session, url):
        async with session.post(f"{url}/retrieve", json={"queries": ["Lima"]}) as response:
            assert response.status == 500
            assert "internal error: ZeroDivisionError" in (await response.json())["error"]

    run_in_process(engine, use)
    assert "ZeroDivisionError" in caplog.text


POST = b"POST /retrieve HTTP/1.1\r\nHost: x\r\n"


RUDE = {
    "half a body": POST + b"Content-Length: 1000\r\n\r\nabc",
    "bad chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no gzip": POST + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde",
    "bad header": POST + b"no header\r\n\r\n",
    "long header": POST + b"X: " + b"x" * 10_000 + b"\r\n\r\n",
    "half a line": POST[:20],
    "no HTTP": b"SSH-2.0 what?\r\n\r\n",
    "silence": b"",
}


@pytest.mark.parametrize("sent", RUDE.values(), ids=RUDE)
@pytest.mark.parametrize("waits", [False, True])
def test_server_prints_nothing_about_clients_that_err_or_leave(sent, waits, capfd, caplog):
    """Each left a traceback of aiohttp."""

    async def use(session, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(sent)
        await writer.drain()
        if waits:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(), 0.2)
        writer.transport.abort()
        async with session.post(f"{url}/retrieve", json={"queries": ["Lima"]}) as response:
            assert response.status == 200, "it goes on"

    run_in_process(BM25Engine([Document("Lima")]), use)
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_server_stops_searching_for_a_client_that_has_left():
    engine = BM25Engine([Document("Lima")])
    asked = threading.Semaphore(0)
    count = 0

    def slow_rank(query, top_k):
        nonlocal count
        count += 1
        asked.release()
        time.sleep(0.001)
        return []

    engine.rank = slow_rank

    async def use(session, url):
        body = {"queries": ["a"] * MAX_QUERIES}
        search = asyncio.create_task(session.post(f"{url}/retrieve", json=body))
        await asyncio.to_thread(asked.acquire, timeout=60)
        search.cancel()
        await asyncio.gather(search, return_exceptions=True)
        before = -1
        while before != count:
            before = count
            await asyncio.sleep(0.5)

    run_in_process(engine, use)
    assert 0 < count < MAX_QUERIES


@pytest.mark.parametrize("name", ["half a body", "half a line", "silence"])
def test_server_waits_for_a_request_for_a_limited_time(name, monkeypatch):
    monkeypatch.setattr(retrieval_server, "READ_TIMEOUT_S", 0.5)

    async def use(session, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(RUDE[name])
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        if name == "half a body":
            assert b" 408 " in answer and b"the body must arrive within 0.5 s" in answer
        else:
            assert answer == b""

    run_in_process(BM25Engine([Document("Lima")]), use)


def test_server_reports_a_corpus_that_changed(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"text": "Lima"}')
    with serving("--corpus", path, "--index", tmp_path / "index") as (_, url):
        path.write_text('{"text": "Cusco"}')
        status, error = post_refused(url, {"queries": ["Lima"]})
        counts = health_of(url)
    assert (counts["searches"], counts["failed_searches"]) == (1, 1)
    assert status == 500 and "the corpus has changed" in error


def test_server_of_the_embedded_world():
    with serving("--top-k", "2") as (_, url):
        [found] = post(url, {"queries": ["birthplace of Ada"]})["result"]
    assert len(found) == 2 and all("Ada" in document["contents"] for document in found)


SLOW_SERVER = """
import asyncio, time
from zs_env import Document
from zs_env.engines.bm25 import BM25Engine
from zs_env.engines.retrieval_server import make_app, serve
engine = BM25Engine([Document("Lima")])
engine.rank = lambda query, top_k: time.sleep(120 * (query == "slow")) or []
asyncio.run(serve(make_app(engine), port=0))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("busy", [False, True])
def test_server_ends_at_once_when_it_is_told_to(number, busy):
    """Also with a connection that is kept alive, and within one query of minutes."""
    command = [sys.executable, "-W", "error", "-c", SLOW_SERVER]
    with serving(command=command) as (process, url), ThreadPoolExecutor(1) as executor:
        connection = http.client.HTTPConnection(url.split("/")[2])
        connection.request("GET", "/health")
        assert connection.getresponse().read()
        if busy:
            search = executor.submit(post, url, {"queries": ["slow"] * MAX_QUERIES})
            time.sleep(0.3)
        start = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=60) == 0
        assert time.monotonic() - start < retrieval_server.STOP_S + 20
        assert (process.stdout.read(), process.stderr.read()) == ("", "")
        connection.close()
        assert not busy or search.exception(60)


def test_server_port_in_use_is_one_line():
    with serving() as (_, url):
        port = url.rsplit(":")[-1].removesuffix("/retrieve")
        command = [sys.executable, "-m", "zs_env", "serve-retrieval", "--port", port]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "address already in use" in result.stderr
    assert result.stderr.count("\n") == 1


def test_server_default_of_documents_is_checked():
    with pytest.raises(ValueError, match="`topk` must be an integer from 1 to 1000"):
        make_app(BM25Engine([Document("Lima")]), Defaults(top_k=0))
