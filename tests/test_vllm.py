"""Simulation LLMs in vLLM on the CPU: behind its server, and in a process of the environment.

`make test-vllm` runs this in an environment that has vLLM.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.chat_model import make_model
from tests.simulated_searches import (
    DOCUMENTS,
    FORMS,
    TOP_K,
    counts_of,
    engine_options,
    form_requests,
    greedy_requests,
    play_alone,
    play_searches,
    search_requests,
)
from tests.vllm_server import ENVIRONMENT, vllm_server
from zs_env import SearchFailure
from zs_env.engines import checked_search, load_engine
from zs_env.errors import ServiceError
from zs_env.llm import ChatRequest, Completion, Message, load_llm
from zs_env.llm.transformers_local import TransformersLanguageModel

pytestmark = pytest.mark.vllm

MAX_LENGTH = 1024


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), MAX_LENGTH)


@pytest.fixture(scope="module")
def in_process(model, tmp_path_factory):
    """What `tests/vllm_in_process.py` found."""
    output = tmp_path_factory.mktemp("output") / "found.json"
    result = subprocess.run(
        [sys.executable, "-m", "tests.vllm_in_process", str(model), str(output)],
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    return json.loads(output.read_text())


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    """Options of `openai_api` for a server.

    Reading a prompt in chunks ends vLLM 0.32 on a CPU if a request has a seed, as each has here.
    """
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with vllm_server(model, log, "--no-enable-chunked-prefill") as url:
        yield {"base_url": url, "model": "tiny", "timeout_s": 300.0, "deadline_s": 600.0}


@pytest.fixture(scope="module")
def documents_server(server):
    """The same, held to the grammar of documents."""
    return {**server, "extra_body": {"structured_outputs": {"regex": DOCUMENTS}}}


@pytest.fixture(scope="module")
def engine(documents_server):
    """The options of a simulated engine."""
    return engine_options(documents_server)


@pytest.fixture(scope="module")
def played(engine):
    """The transcripts of the vector environment, and what was used."""
    return play_searches(engine)


@contextlib.contextmanager
def engine_of(options):
    with contextlib.closing(load_engine(engine_options(options))) as made:
        yield made


def texts_of(engine, requests):
    results = checked_search(engine, requests)
    assert [result.failure for result in results if result.failure] == []
    return [[document.text for document in result.documents] for result in results]


def ask_server(server, requests):
    with contextlib.closing(load_llm("openai_api", server)) as llm:
        return llm.complete(requests)


def check_usage(usage, searches):
    assert usage["searches"] == usage["completions"] == searches
    assert usage["failed_searches"] == 0
    assert usage["prompt_tokens"] > 50 * searches
    assert 20 * searches < usage["completion_tokens"] < 600 * searches


def test_server_answers_200_searches_of_the_vector_environment_and_again_alike(played, engine):
    transcripts, usage = played
    check_usage(usage, 200)
    assert all(transcript.count("\nDoc 3: ") == 4 for transcript in transcripts)
    assert play_searches(engine) == (transcripts, usage)
    # An environment alone is that of the vector environment.
    assert play_alone(engine, place=7) == transcripts[7]
    others, _ = play_searches(engine, seed=1000)
    assert not set(others) & set(transcripts)


def test_server_gives_each_search_the_same_in_any_order_and_company(documents_server):
    requests = search_requests(200)
    with engine_of(documents_server) as engine:
        in_order = texts_of(engine, requests)
        assert [texts_of(engine, [request])[0] for request in requests[:10]] == in_order[:10]
        other_keys = texts_of(engine, search_requests(200, key=1000))
        check_usage(counts_of(engine), 410)
    assert all(one != other for one, other in zip(in_order, other_keys, strict=True))
    with engine_of({**documents_server, "max_concurrency": 7}) as engine:
        assert texts_of(engine, requests[::-1])[::-1] == in_order


def test_server_refuses_what_does_not_fit_its_context_and_answers_the_others(server):
    short, too_long = greedy_requests()[0], ChatRequest((Message("user", "boat " * 2000),))
    answered, refused = ask_server(server, [short, too_long])
    assert answered.completion_tokens == short.max_tokens
    assert isinstance(refused, SearchFailure) and "HTTP 400" in str(refused)


def test_in_process_answers_200_searches_of_the_vector_environment(in_process):
    check_usage(in_process["usage"], 200)
    assert all(transcript.count("\nDoc 3: ") == 4 for transcript in in_process["transcripts"])


def test_in_process_gives_each_search_the_same_in_any_order_and_company(in_process):
    documents = in_process["documents"]
    first = documents["first"]
    assert len(first) == 200 and all(len(found) == 3 for found in first)
    assert first == documents["again"] == documents["backwards"]
    assert first[:10] == documents["alone"]
    assert all(one != other for one, other in zip(first, documents["other"], strict=True))


def test_in_process_and_server_give_the_same_documents(in_process, played):
    assert (in_process["transcripts"], in_process["usage"]) == played


def without_tokens(completions):
    """A server does not give them."""
    return [replace(completion, token_ids=()) for completion in completions]


def test_greedy_texts_and_usage_agree_between_server_in_process_and_transformers(
    server, in_process, model
):
    requests = greedy_requests()
    expected = without_tokens(TransformersLanguageModel(str(model)).complete(requests))
    assert len({completion.text for completion in expected}) == len(requests)
    assert ask_server(server, requests) == expected
    assert [Completion(*fields) for fields in in_process["greedy"]] == expected


def test_begun_texts_agree_between_server_in_process_and_transformers(server, in_process, model):
    requests = [replace(request, prefill="Doc 1:") for request in greedy_requests()]
    expected = without_tokens(TransformersLanguageModel(str(model)).complete(requests))
    assert all(completion.text.startswith("Doc 1:") for completion in expected)
    assert ask_server(server, requests) == expected
    assert [Completion(*fields) for fields in in_process["begun"]] == expected


@pytest.mark.parametrize("form", FORMS)
def test_form_is_kept_to_by_a_model_that_knows_nothing(server, in_process, form):
    with engine_of({**server, **FORMS[form]}) as engine:
        from_server = texts_of(engine, form_requests())
    for documents in (from_server, in_process["forms"][form]):
        assert len(documents) == 6 and all(documents)
        if "regex" in form:
            assert [len(found) for found in documents] == [TOP_K] * 6
            assert all(len(text.split()) <= 6 for found in documents for text in found)
    assert from_server == in_process["forms"][form]


def test_server_that_does_not_hold_to_a_grammar_is_found_out_at_the_start(server):
    """It is asked for another grammar than the engine means, as one that ignores the field."""
    other = {"structured_outputs": {"regex": "[a-z ]+"}}
    with pytest.raises(ServiceError, match="does not keep to `grammar` regex"):
        load_engine({"name": "simulated", "grammar": "regex", **server, "extra_body": other})


def test_server_that_refuses_to_continue_a_message_is_found_out_at_the_start(server):
    """This one refuses to do both; others do not know the fields."""
    both = {"add_generation_prompt": True}
    with pytest.raises(ServiceError, match="HTTP 400.*Cannot set both.* leave out `prefill`"):
        load_engine({"name": "simulated", "prefill": True, **server, "extra_body": both})


def test_in_process_a_prompt_that_does_not_fit_fails_alone(in_process):
    greedy, (first, too_long, second) = in_process["greedy"], in_process["mixed"]
    assert [first, second] == greedy[:2]
    assert "tokens, and the context of" in too_long and "only 1,024" in too_long


def test_in_process_batch_fails_when_vllm_is_killed_and_the_next_is_answered(in_process):
    """Without a deadline, vLLM waits for ever for the answer of a process that was killed."""
    assert all(failure.startswith("vLLM has ") for failure in in_process["dead"])
    assert in_process["revived"] == in_process["greedy"][:2]


def test_in_process_wrong_arguments_are_refused(in_process):
    assert "'/no/such/folder' cannot be loaded" in in_process["unknown"]
    assert "unexpected keyword argument 'bogus'" in in_process["wrong_option"]
