"""Language models behind real HTTP servers, which misbehave in every way that was seen."""

from __future__ import annotations

import asyncio
import pickle
import signal
import time

import pytest
from aiohttp import web

from benchmarks.chat_server import FAULTS, MODEL, ChatServer, Reply, good, running
from tests.helpers import end_while_waiting, free_port
from zs_env import SearchFailure
from zs_env.errors import ServiceError
from zs_env.llm import ChatRequest, Completion, Message
from zs_env.llm.openai_api import OpenAILanguageModel

TRANSIENT = [
    "500", "429", "cut", "malformed", "html", "no choice", "hang",
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
    assert "more than 16,777,216 bytes" in str(failure)


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
            llm = OpenAILanguageModel(MODEL, f"{url}/v1", **QUICK)

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
