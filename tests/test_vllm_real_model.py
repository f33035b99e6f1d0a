"""A real instruct model behind vLLM on the CPU: as a chat model, and as the simulation LLM."""

from __future__ import annotations

import contextlib

import pytest

from tests.make_model import FOLDER
from tests.vllm_server import vllm_server
from zs_env.documents import SearchRequest
from zs_env.engines import checked_search, load_engine
from zs_env.llm import ChatRequest, Message, load_llm

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is missing: run `make models`."),
]

QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Options of `openai_api`."""
    log = tmp_path_factory.mktemp("server") / "log.txt"
    options = ("--no-enable-chunked-prefill", "--max-model-len", "1024", "--max-num-seqs", "8")
    with vllm_server(FOLDER, log, *options) as url:
        yield {"base_url": url, "model": "tiny", "timeout_s": 600.0, "deadline_s": 1200.0}


def test_it_answers_as_it_does_in_transformers(server):
    with contextlib.closing(load_llm("openai_api", server)) as llm:
        llm.check()
        request = ChatRequest((Message("user", QUESTION),), max_tokens=12, temperature=0.0)
        [completion] = llm.complete([request])
    assert completion.text == "The capital of France is Paris."


@pytest.mark.parametrize("form", [{"prefill": True}, {"grammar": "regex", "prefill": True}])
def test_it_plays_the_search_engine(server, form):
    requests = [
        SearchRequest(
            "capital of France", QUESTION, ("Paris",), noisy=noisy, top_k=2, document_words=12
        )
        for noisy in (False, True)
    ]
    engine = load_engine({"name": "simulated", "max_tokens": 120, **server, **form})
    with contextlib.closing(engine):
        results = checked_search(engine, requests)
        usage = engine.usage
    assert [result.failure for result in results] == [None, None]
    assert all(1 <= len(result.documents) <= 2 for result in results)
    assert usage.searches == 2 and usage.prompt_tokens > usage.completion_tokens > 0
    if "grammar" in form:
        assert [len(result.documents) for result in results] == [2, 2]
