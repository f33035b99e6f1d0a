"""Language models behind real HTTP servers, which misbehave in every way that was seen."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import pickle
import re
import signal
import time
import tracemalloc
from dataclasses import replace
from urllib.parse import quote_plus

import pytest
from aiohttp import web

from benchmarks.chat_server import FAULTS, MODEL, ChatServer, Reply, bomb, good, running
from tests.helpers import end_while_waiting, free_port
from zs_env import SearchFailure
from zs_env.errors import ServiceError
from zs_env.llm import ChatRequest, Completion, Grammar, Message
from zs_env.llm.openai_api import OpenAILanguageModel

TRANSIENT = [
    "500", "429", "cut", "malformed", "html", "no choice", "hang", "bomb", "no gzip",
    "bad header", "long header", "bad length", "no HTTP", "silence",
]  # fmt: skip
QUICK = {"timeout_s": 0.5, "deadline_s": 20.0, "max_attempts": 3}


def ask(text="hello", seed=1):
    return ChatRequest((Message("user", text),), seed=seed)


@pytest.fixture
def llm(server):
    llm = OpenAILanguageModel(MODEL, server.url, **QUICK)
    yield llm
    llm.close()


def fail_first(name, times):
    """A plan that fails as ``name`` says, so many times for each request."""

    def plan(body, attempt):
        return FAULTS[name](body) if attempt < times else good(body)

    return plan


def test_completion_has_the_text_and_the_tokens_that_were_counted(server, llm):
    server.plan = lambda body, attempt: Reply("one two three")
    assert llm.complete([ask("a b c d e")]) == [Completion("one two three", 5, 3)]


def test_request_says_all_that_decides_the_text(server):
    seen = []
    server.plan = lambda body, attempt: seen.append(body) or good(body)
    llm = OpenAILanguageModel(MODEL, server.url, extra_body={"top_k": 7})
    request = ChatRequest((Message("system", "s"), Message("user", "u")), 5, 0.3, 0.9, 44)
    llm.complete([request])
    llm.close()
    assert seen == [
        {
            "model": MODEL,
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
            "seed": 5,
            "temperature": 0.3,
            "top_p": 0.9,
            "max_tokens": 44,
            "top_k": 7,
        }
    ]
    assert llm.identity() == {"model": MODEL, "top_k": 7}


def body_of(server, llm, **changes):
    """What the server is sent for a request, without what every request has."""
    seen = []
    server.plan = lambda body, attempt: seen.append(body) or good(body)
    llm.complete([replace(ask(), **changes)])
    [body] = seen
    common = {"model", "seed", "temperature", "top_p", "max_tokens"}
    return {name: value for name, value in body.items() if name not in common}


def test_begun_message_comes_last_and_is_to_be_continued(server, llm):
    assert body_of(server, llm, prefill="Doc 1:\ud800") == {
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "Doc 1:?"},
        ],
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def test_grammar_is_sent_as_vllm_and_as_openai_name_it(server, llm):
    hello = [{"role": "user", "content": "hello"}]
    assert body_of(server, llm, grammar=Grammar("regex", "a+")) == {
        "messages": hello,
        "structured_outputs": {"regex": "a+"},
    }
    assert body_of(server, llm, grammar=Grammar("json", '{"type": "array"}')) == {
        "messages": hello,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "documents", "strict": True, "schema": {"type": "array"}},
        },
    }


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        (" a b", "Doc 1: a b"),
        ("Doc 1: a b", "Doc 1: a b"),
        ("\nDoc 1: a b", "\nDoc 1: a b"),
        ("", "Doc 1:"),
    ],
)
def test_text_begins_with_the_begun_message_once(server, llm, written, whole):
    server.plan = lambda body, attempt: Reply(written)
    [completion] = llm.complete([replace(ask(), prefill="Doc 1:")])
    assert completion.text == whole


@pytest.mark.parametrize("status", [400, 422])
def test_refusal_of_a_field_says_which_option_to_leave_out(server, llm, status):
    server.plan = lambda body, attempt: Reply(status=status, body=b"unknown field")
    regex, schema = Grammar("regex", "a"), Grammar("json", "{}")
    begun, held, in_json, plain = llm.complete(
        [
            replace(ask(), prefill="Doc 1:"),
            replace(ask(), grammar=regex),
            replace(ask(), grammar=schema),
            ask(),
        ]
    )
    start = f"{server.url}: HTTP {status}: unknown field"
    assert str(begun) == (
        f"{start}. If the server does not know `continue_final_message` and "
        "`add_generation_prompt`, leave out `prefill`."
    )
    option = ", leave out `grammar`."
    assert str(held) == f"{start}. If the server does not know `structured_outputs`{option}"
    assert str(in_json) == f"{start}. If the server does not know `response_format`{option}"
    assert str(plain) == start


@pytest.mark.parametrize("fault", TRANSIENT)
def test_fault_that_passes_is_survived(server, llm, fault):
    server.plan = fail_first(fault, 2)
    [completion] = llm.complete([ask()])
    assert completion.text == good({"messages": [ask().messages[0]._asdict()], "seed": 1}).text
    assert server.num_requests == 3


@pytest.mark.parametrize("fault", [name for name in TRANSIENT if name != "429"])
def test_fault_that_stays_is_a_typed_failure_of_that_request_alone(server, llm, fault):
    server.plan = lambda body, attempt: (
        FAULTS[fault](body) if "bad" in body["messages"][0]["content"] else good(body)
    )
    outcomes = llm.complete([ask("fine"), ask("bad"), ask("well")])
    assert [type(outcome) for outcome in outcomes] == [Completion, SearchFailure, Completion]
    assert server.url in str(outcomes[1]) and "given up after 3 attempts" in str(outcomes[1])
    assert server.num_requests == 2 + 3


@pytest.mark.parametrize("fault", ["null", "empty"])
def test_message_without_text_is_no_error_of_the_server(server, llm, fault):
    """The same seed would only be answered alike; whoever asked may ask with another."""
    server.plan = lambda body, attempt: FAULTS[fault](body)
    [completion] = llm.complete([ask()])
    assert completion.text.strip() == "" and server.num_requests == 1


@pytest.mark.parametrize("count", ["1e999", '"many"', "[]"])
def test_usage_that_is_no_number_is_no_answer(server, llm, count):
    body = (
        f'{{"choices": [{{"message": {{"content": "a"}}}}], "usage": {{"prompt_tokens": {count}}}}}'
    )
    server.plan = lambda _, attempt: Reply(body=body.encode())
    [outcome] = llm.complete([ask()])
    if count == "[]":
        assert outcome == Completion("a", 0, 0)
    else:
        assert "not a chat completion" in str(outcome)


def test_answer_without_end_is_cut_off():
    async def pour(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 2**20)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", pour)
    with running(app) as url:
        llm = OpenAILanguageModel(MODEL, f"{url}/v1", max_attempts=1)
        [failure] = llm.complete([ask()])
        llm.close()
    assert "more than 372,736 bytes" in str(failure), "65,536 and 512 for each of 600 tokens"


@pytest.mark.parametrize("compressed", [False, True])
def test_bound_of_an_answer_follows_from_the_tokens_that_were_asked_for(server, compressed):
    """It counted compressed bytes, and up to 16 MB of them: 500 answers took 2.9 GB."""
    text = "word " * 100_000

    def plan(body, attempt):
        answer = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
        if not compressed:
            return Reply(body=answer)
        return Reply(body=gzip.compress(answer), headers={"Content-Encoding": "gzip"})

    def outcome(extra_body=None, **changes):
        llm = OpenAILanguageModel(MODEL, server.url, max_attempts=1, extra_body=extra_body)
        [outcome] = llm.complete([replace(ask(), **changes)])
        llm.close()
        return outcome

    server.plan = plan
    assert "an answer of more than 372,736 bytes" in str(outcome(max_tokens=600))
    assert outcome(max_tokens=1000).text == text
    assert outcome({"max_completion_tokens": 1000}, max_tokens=1).text == text


def test_answers_that_grow_when_they_are_decompressed_take_no_memory(server):
    """Each is of 64 MiB, and all are under way at the same time."""
    server.plan = lambda body, attempt: Reply(
        body=bomb(), headers={"Content-Encoding": "gzip"}, delay_s=0.2
    )
    bomb()
    llm = OpenAILanguageModel(MODEL, server.url, max_attempts=1)
    tracemalloc.start()
    try:
        outcomes = llm.complete([ask(str(i)) for i in range(20)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        llm.close()
    assert all("an answer of more than" in str(outcome) for outcome in outcomes)
    assert peak < 2**26, f"{peak:,} bytes"


def test_answer_in_an_encoding_that_was_not_asked_for_is_none(server, llm):
    server.plan = lambda body, attempt: Reply(body=b"x", headers={"Content-Encoding": "br"})
    [failure] = llm.complete([ask()])
    assert "an answer in the encoding 'br', which was not asked for" in str(failure)
    assert server.headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirection_is_refused_and_takes_prompt_and_key_nowhere(server, monkeypatch, status):
    """Prompts with golden answers were posted to another port."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    elsewhere = ChatServer()
    with running(elsewhere.app()) as url:
        target = f"{url}/v1/chat/completions"
        server.plan = lambda body, attempt: Reply(status=status, headers={"Location": target})
        llm = OpenAILanguageModel(MODEL, server.url, **QUICK)
        [failure] = llm.complete([ask()])
        llm.close()
    assert str(failure).startswith(f"{server.url}: HTTP {status}")
    assert (server.num_requests, elsewhere.num_requests) == (1, 0)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_refusal_is_not_tried_again(server, llm, status):
    server.plan = lambda body, attempt: Reply(status=status, body=b"no such thing")
    [failure] = llm.complete([ask()])
    assert str(failure) == f"{server.url}: HTTP {status}: no such thing"
    assert server.num_requests == 1


def test_retry_after_is_waited_for(server, llm):
    times = []

    def plan(body, attempt):
        times.append(time.monotonic())
        busy = Reply(status=429, body=b"", headers={"Retry-After": "0.8"})
        return busy if attempt == 0 else good(body)

    server.plan = plan
    assert isinstance(llm.complete([ask()])[0], Completion)
    assert times[1] - times[0] >= 0.8  # the first pause without it is at most 0.375 s


def test_request_that_is_put_off_is_tried_until_the_deadline(server):
    """A rate limit with many at once would use up the attempts of most."""
    server.plan = fail_first("429", 4)
    llm = OpenAILanguageModel(MODEL, server.url, **{**QUICK, "max_attempts": 1})
    assert isinstance(llm.complete([ask()])[0], Completion)
    llm.close()
    server.plan = lambda body, attempt: FAULTS["429"](body)
    llm = OpenAILanguageModel(MODEL, server.url, deadline_s=1.0)
    before = server.num_requests
    [failure] = llm.complete([ask()])
    llm.close()
    assert "HTTP 429: busy; the deadline of 1 s has passed" in str(failure)
    assert 2 <= server.num_requests - before <= 4


@pytest.mark.parametrize(
    "value",
    ["1e9", "nan", "soon", "Fri, 31 Dec 2199 23:59:59 GMT", "Fri, 31 Dec 99999999999 23:59:59 GMT"],
)
def test_retry_after_that_is_absurd_cannot_hang(server, value):
    server.plan = lambda body, attempt: Reply(status=429, body=b"", headers={"Retry-After": value})
    llm = OpenAILanguageModel(MODEL, server.url, deadline_s=1.0, max_attempts=2)
    start = time.monotonic()
    [failure] = llm.complete([ask()])
    llm.close()
    assert "HTTP 429" in str(failure)
    assert time.monotonic() - start < 5.0


def test_deadline_counts_what_a_request_waits_for_others(server):
    server.plan = lambda body, attempt: Reply(hang=True)
    llm = OpenAILanguageModel(MODEL, server.url, deadline_s=0.5, max_concurrency=1)
    start = time.monotonic()
    outcomes = llm.complete([ask(str(i)) for i in range(20)])
    llm.close()
    assert all("deadline of 0.5 s" in str(outcome) for outcome in outcomes)
    assert time.monotonic() - start < 5.0
    assert server.num_requests < 20, "most were never sent"


def test_concurrency_is_bounded_and_used(server):
    server.plan = lambda body, attempt: Reply("x", delay_s=0.05)
    llm = OpenAILanguageModel(MODEL, server.url, max_concurrency=4)
    llm.complete([ask(str(i)) for i in range(32)])
    llm.close()
    assert server.most_in_flight == 4


@pytest.mark.parametrize("sign", [429, 503, "hang", 500])
def test_concurrency_is_halved_once_for_all_that_are_refused_together(server, sign):
    again = []

    def plan(body, attempt):
        if attempt > 0:
            again.append(server.in_flight)
            return Reply("x", delay_s=1.2 if sign == 500 else 0.4)
        return Reply(hang=True) if sign == "hang" else Reply(status=sign, body=b"", delay_s=1.0)

    server.plan = plan
    llm = OpenAILanguageModel(MODEL, server.url, max_concurrency=64, timeout_s=2.0)
    outcomes = llm.complete([ask(str(i)) for i in range(64)])
    llm.close()
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    if sign == 500:
        assert max(again) > 40, "an error says nothing of too many requests"
    else:
        assert 16 < max(again) <= 34, "half, and one step of 2 after 32 answers"


def test_server_that_allows_few_at_a_time_is_not_flooded_and_answers_all(server):
    server.allowed = 8
    server.plan = lambda body, attempt: Reply("x", delay_s=0.02)
    llm = OpenAILanguageModel(MODEL, server.url)
    first = llm.complete([ask(str(i)) for i in range(300)])
    num_refused, num_before = server.num_refused, server.num_requests
    assert 0 < num_refused < 512, "256 at first, then 128, 64, …"
    server.most_in_flight = 0
    second = llm.complete([ask(str(i), seed=2) for i in range(300)])
    llm.close()
    assert all(isinstance(outcome, Completion) for outcome in first + second)
    assert server.most_in_flight <= 16
    assert server.num_refused - num_refused <= 0.1 * (server.num_requests - num_before)


def test_busy_server_gets_fewer_requests():
    slow, quick = ChatServer(lambda b, n: Reply("x", delay_s=0.5)), ChatServer()
    quick.plan = lambda body, attempt: Reply("x", delay_s=0.01)
    with running(slow.app()) as url, running(quick.app()) as other:
        llm = OpenAILanguageModel(MODEL, [f"{url}/v1", f"{other}/v1"], max_concurrency=4)
        outcomes = llm.complete([ask(str(i)) for i in range(64)])
        llm.close()
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert slow.num_requests < 20 < quick.num_requests


def test_dead_server_is_passed_over_and_used_again_when_it_is_back():
    first, second = ChatServer(), ChatServer()
    with running(second.app()) as alive:
        port = free_port()
        with running(first.app(), port) as url:
            llm = OpenAILanguageModel(MODEL, [f"{url}/v1", f"{alive}/v1"], **QUICK)
            llm.check()
            assert all(isinstance(c, Completion) for c in llm.complete([ask("a"), ask("b")]))
        outcomes = llm.complete([ask(str(i)) for i in range(50)])
        assert all(isinstance(outcome, Completion) for outcome in outcomes)
        num_before = first.num_requests
        with running(first.app(), port):
            deadline = time.monotonic() + 30
            while first.num_requests == num_before and time.monotonic() < deadline:
                llm.complete([ask("c")])
                time.sleep(0.02)
        assert first.num_requests > num_before
        llm.close()


def test_server_that_dies_half_way_fails_in_time():
    server = ChatServer(lambda body, attempt: Reply(hang=True))
    llm = None
    try:
        with running(server.app()) as url:
            llm = OpenAILanguageModel(MODEL, f"{url}/v1", **{**QUICK, "timeout_s": 60.0})

            async def ask_all():
                tasks = [asyncio.create_task(llm.acomplete(ask(str(i)))) for i in range(10)]
                while server.in_flight < 10:
                    await asyncio.sleep(0.01)
                return tasks

            loop = asyncio.new_event_loop()
            tasks = loop.run_until_complete(ask_all())
        start = time.monotonic()
        outcomes = loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()
        assert all(isinstance(outcome, SearchFailure) for outcome in outcomes)
        assert time.monotonic() - start < 10.0
    finally:
        llm.close()


def test_model_works_from_several_event_loops_and_after_pickling(server, llm):
    async def twice():
        return [await llm.acomplete(ask()), await llm.acomplete(ask("other"))]

    first, second = asyncio.run(twice()), asyncio.run(twice())
    copy = pickle.loads(pickle.dumps(llm))
    assert first == second == copy.complete([ask(), ask("other")])
    copy.close()
    llm.close()
    assert llm.complete([ask()]) == first[:1], "after close() it connects anew"


def test_key_goes_to_the_server_and_into_no_message(server, monkeypatch):
    key = "sk-very-secret"
    monkeypatch.setenv("MY_KEY", key)
    llm = OpenAILanguageModel(MODEL, server.url, api_key_env="MY_KEY", max_attempts=1)
    for status in (500, 401):
        server.plan = lambda body, attempt, status=status: Reply(
            status=status, body=f"wrong key {key}".encode()
        )
        [failure] = llm.complete([ask(str(status))])
        assert server.headers["Authorization"] == f"Bearer {key}"
        assert "wrong key [secret]" in str(failure) and key not in repr(failure)
    assert key not in repr(vars(llm)) + str(llm.identity()) + str(pickle.dumps(llm))
    llm.close()


@pytest.mark.parametrize("key", ["k3y", "sk+very/secret=", "x"])
@pytest.mark.parametrize(
    "fault", ["bad header", "long header", "no HTTP", "html", "no choice", "500", "401"]
)
def test_key_of_any_length_is_in_no_message_of_a_server_that_repeats_it(
    server, monkeypatch, fault, key
):
    """Keys shorter than eight characters were shown, and those in `base_url`, and parts of keys."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    secret = f"{key}-in-the-url"
    shown = f"<{key}> <{secret}> <{quote_plus(secret)}> ".encode()
    bodies = {
        "bad header": Reply(raw=b"HTTP/1.1 200 OK\r\n" + shown + b"\r\n\r\n"),
        "long header": Reply(raw=b"HTTP/1.1 200 OK\r\nX: " + shown * 500 + b"\r\n\r\n"),
        "no HTTP": Reply(raw=shown + b"\r\n\r\n"),
        "html": Reply(body=shown),
        "no choice": Reply(body=json.dumps({"error": shown.decode()}).encode()),
        "500": Reply(status=500, body=b"y" * 197 + shown),
        "401": Reply(status=401, body=shown * 99),
    }
    server.plan = lambda body, attempt: bodies[fault]
    llm = OpenAILanguageModel(MODEL, f"{server.url}?token={quote_plus(secret)}", max_attempts=1)
    [failure] = llm.complete([ask()])
    llm.close()
    assert isinstance(failure, SearchFailure)
    said = re.sub(r"127\.0\.0\.1:\d+|\[secret\]|HTTP|Expecting value|OK", "", str(failure))
    assert key not in said and "in-the-url" not in said, failure
    if fault == "500":
        assert str(failure).count("y") == 197, "the key stood at the end of what is shown"


def test_placeholder_for_a_key_may_be_said(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server.plan = lambda body, attempt: Reply(status=400, body=b"there is none")
    llm = OpenAILanguageModel(MODEL, server.url)
    [failure] = llm.complete([ask()])
    llm.close()
    assert str(failure).endswith("HTTP 400: there is none")
    assert server.headers["Authorization"] == "Bearer none"


def test_no_key_is_sent_where_there_is_none(server, llm, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    llm.complete([ask()])
    assert "Authorization" not in server.headers


@pytest.mark.parametrize("key", ["sk-a\nsk-b", "sk-\x00a", "sk-clé"])
def test_key_that_cannot_be_sent_is_one_clear_error(server, monkeypatch, key):
    if "\x00" in key:  # no environment can hold it
        monkeypatch.setattr(os, "environ", {"MY_KEY": key})
    else:
        monkeypatch.setenv("MY_KEY", key)
    llm = OpenAILanguageModel(MODEL, server.url, api_key_env="MY_KEY")
    with pytest.raises(ServiceError, match="variable MY_KEY must hold a key of printable") as error:
        llm.check()
    assert "sk-" not in str(error.value)
    llm.close()


def test_query_of_the_url_is_sent_behind_the_path():
    asked = []

    async def answer(request):
        asked.append((request.path, dict(request.query)))
        models = {"data": [{"id": MODEL}]}
        completion = {"choices": [{"message": {"content": "x"}}]}
        return web.json_response({**models, **completion})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    with running(app) as url:
        llm = OpenAILanguageModel(MODEL, f"{url}/v1/?token=t&version=2")
        llm.check()
        assert llm.complete([ask()]) == [Completion("x")]
        llm.close()
    query = {"token": "t", "version": "2"}
    assert asked == [("/v1/models", query), ("/v1/chat/completions", query)]


def test_proxy_of_the_environment_is_used_but_not_for_this_machine(server, monkeypatch):
    """The server plays the proxy: it is asked for a host that there is not."""
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "direct.invalid")
    away, direct = (f"http://{name}.invalid/v1" for name in ("away", "direct"))
    outcomes = []
    for url in (away, direct, server.url):
        llm = OpenAILanguageModel(MODEL, url, max_attempts=1)
        outcomes += llm.complete([ask()])
        llm.close()
    assert isinstance(outcomes[0], Completion) and outcomes[0] == outcomes[2]
    assert "direct.invalid/v1: cannot connect" in str(outcomes[1])
    assert server.num_requests == 2


def test_refused_connection_is_called_one(monkeypatch):
    """It was called `ConnectTimeout`."""
    llm = OpenAILanguageModel(MODEL, "http://127.0.0.1:9/v1", max_attempts=1)
    [failure] = llm.complete([ask()])
    llm.close()
    assert "127.0.0.1:9/v1: cannot connect: Connection refused" in str(failure)


def test_check_names_an_unknown_model(server):
    llm = OpenAILanguageModel("huge", server.url)
    with pytest.raises(ServiceError, match="has no model 'huge', only 'tiny'"):
        llm.check()
    llm.close()


@pytest.mark.parametrize(
    ("path", "message"),
    [("", r"refuses: HTTP 404.* Is `base_url` right \(with /v1\)\?"), ("/v1", None)],
)
def test_check_names_a_wrong_path(server, path, message):
    llm = OpenAILanguageModel(MODEL, server.url.removesuffix("/v1") + path)
    if message is None:
        llm.check()
    else:
        with pytest.raises(ServiceError, match=message):
            llm.check()
    llm.close()


def test_check_names_a_server_that_is_down():
    llm = OpenAILanguageModel(MODEL, "http://127.0.0.1:9/v1")
    with pytest.raises(ServiceError, match="no server of 'tiny' can be reached"):
        llm.check()
    llm.close()


def test_check_does_not_wait_for_a_server_that_drips(monkeypatch):
    monkeypatch.setattr("zs_env.llm.openai_api.CHECK_TIMEOUT_S", 0.5)

    async def drip(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.1)

    app = web.Application()
    app.router.add_get("/v1/models", drip)
    with running(app) as url:
        llm = OpenAILanguageModel(MODEL, f"{url}/v1")
        with pytest.raises(ServiceError, match="no answer within 0.5 s"):
            llm.check()
        llm.close()


def test_check_needs_one_server_of_several(server):
    llm = OpenAILanguageModel(MODEL, ["http://127.0.0.1:9/v1", server.url])
    llm.check()
    llm.close()


def test_check_names_the_variable_of_a_missing_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    async def refuse(request):
        return web.json_response({"error": {"message": "no key"}}, status=401)

    app = web.Application()
    app.router.add_get("/v1/models", refuse)
    with running(app) as url:
        llm = OpenAILanguageModel(MODEL, f"{url}/v1")
        with pytest.raises(ServiceError, match=r"HTTP 401.*Is the key in \$OPENAI_API_KEY\?"):
            llm.check()
        llm.close()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"base_url": "127.0.0.1:8000"}, ServiceError, "expected a URL such as"),
        ({"base_url": "ftp://host"}, ServiceError, "expected a URL such as"),
        ({"base_url": "http://a:secret@host"}, ServiceError, "must not hold .* password: host"),
        ({"base_url": []}, ServiceError, "a list of one or more, got"),
        ({"base_url": 5}, ServiceError, "expected a URL"),
        ({"base_url": "http://127.0.0.1:abc/v1"}, ServiceError, "expected a URL such as"),
        ({"base_url": "http://[::1"}, ServiceError, "expected a URL such as"),
        ({"max_concurrency": 0.5}, TypeError, "`max_concurrency` must be an integer"),
        ({"deadline_s": float("inf")}, ValueError, "`deadline_s` must be positive and finite"),
        ({"deadline_s": "1"}, TypeError, "`deadline_s` must be a number of seconds"),
        ({"timeout_s": 0}, ValueError, "`timeout_s` must be positive and finite"),
        ({"max_attempts": -1}, ValueError, "`max_attempts` must be positive and finite"),
    ],
)
def test_wrong_option_is_refused_at_construction(options, error, message):
    with pytest.raises(error, match=message):
        OpenAILanguageModel("m", **options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_a_program_that_waits_for_a_server(server, number):
    server.plan = lambda body, attempt: Reply(hang=True)
    program = (
        "import gymnasium, zs_env\n"
        f"engine = 'simulated,base_url={server.url},model={MODEL}'\n"
        "env = gymnasium.make('ZeroSearch-v0', engine=engine)\n"
        "env.reset(seed=0)\n"
        "print('waits', flush=True)\n"
        "env.step('<search>a</search>')\n"
    )
    errors = end_while_waiting(program, number, lambda: server.in_flight > 0)
    if number == signal.SIGINT:
        assert errors.strip().endswith("KeyboardInterrupt"), errors


def test_text_that_is_no_unicode_is_sent_all_the_same(server, llm):
    seen = []
    server.plan = lambda body, attempt: seen.append(body["messages"]) or good(body)
    assert isinstance(llm.complete([ask("a \ud800 b \x00")])[0], Completion)
    assert seen == [[{"role": "user", "content": "a ? b \x00"}]]
