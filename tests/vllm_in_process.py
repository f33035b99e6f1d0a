"""What vLLM gives in this process, as JSON: `python -m tests.vllm_in_process MODEL OUTPUT`.

A program of its own, because the processes of vLLM import the main module again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tests.simulated_searches import (
    DOCUMENTS,
    FORMS,
    form_requests,
    greedy_requests,
    play_searches,
    search_requests,
)
from zs_env.engines import checked_search
from zs_env.engines.simulated import SimulatedEngine
from zs_env.errors import SearchFailure, ServiceError
from zs_env.llm import ChatRequest, LanguageModel, Message, load_llm

ENGINE = {
    "max_model_len": 1024,
    "dtype": "float32",
    "vllm_options": {"enforce_eager": True},
}

DEADLINE_S = 30.0


def main(model: str, output: str) -> None:
    """Write ``output``."""
    constrained = {
        "model": model,
        "sampling_options": {"structured_outputs": {"regex": DOCUMENTS}},
        **ENGINE,
    }
    found: dict[str, Any] = {"unknown": unknown_model(), "wrong_option": wrong_option(model)}
    llm = load_llm("vllm_local", constrained)
    found["documents"] = documents(llm)
    found["transcripts"], found["usage"] = play_searches(engine_of(llm))
    for _ in range(2):
        llm.close()
    found |= completions(model)
    Path(output).write_text(json.dumps(found))


def unknown_model() -> str:
    """The error of a model that does not exist."""
    try:
        load_llm("vllm_local", {"model": "/no/such/folder", **ENGINE}).check()
    except ServiceError as error:
        return str(error)
    return ""


def wrong_option(model: str) -> str:
    """The error of an option that vLLM does not know."""
    try:
        load_llm("vllm_local", {"model": model, "vllm_options": {"bogus": 1}}).check()
    except TypeError as error:
        return str(error)
    return ""


def engine_of(llm: LanguageModel, **options: Any) -> SimulatedEngine:
    """A simulated engine; several share ``llm``, whose processes take long to start."""
    return SimulatedEngine(llm, template="fine-tuned", **options)


def documents(llm: LanguageModel) -> dict[str, Any]:
    """The documents of the same requests: in order, again, backwards, and with other keys."""
    engine = engine_of(llm)
    requests = search_requests(200)

    def ask(asked: list[Any]) -> list[list[str]]:
        return [[d.text for d in result.documents] for result in checked_search(engine, asked)]

    return {
        "first": ask(requests),  # nothing has loaded the model: that happens in a worker thread
        "again": ask(requests),
        "backwards": ask(requests[::-1])[::-1],
        "alone": [ask([request])[0] for request in requests[:10]],
        "other": ask(search_requests(200, key=1000)),
    }


def completions(model: str) -> dict[str, Any]:
    """Greedy texts, a prompt that is too long among others, and how a dead engine comes back."""
    llm = load_llm("vllm_local", {"model": model, "deadline_s": DEADLINE_S, **ENGINE})
    greedy = greedy_requests()
    texts = [vars_of(outcome) for outcome in llm.complete(greedy)]
    too_long = ChatRequest((Message("user", "boat " * 2000),))
    mixed = [vars_of(outcome) for outcome in llm.complete([greedy[0], too_long, greedy[1]])]
    # Many times what vLLM is asked at once, so that it is busy when it is killed.
    threading.Timer(1.0, kill_engine, [llm]).start()
    long = [replace(request, max_tokens=700) for request in greedy[:4]] * 100
    dead = [vars_of(outcome) for outcome in llm.complete(long)]
    revived = [vars_of(outcome) for outcome in llm.complete(greedy[:2])]
    begun = [replace(request, prefill="Doc 1:") for request in greedy]
    found = {"begun": [vars_of(outcome) for outcome in llm.complete(begun)], "forms": forms(llm)}
    llm.close()
    return found | {
        "greedy": texts,
        "mixed": mixed,
        "dead": sorted(set(map(str, dead))),
        "revived": revived,
    }


def forms(llm: LanguageModel) -> dict[str, Any]:
    """The documents in each form, after the check of the engine."""
    found = {}
    for name, options in FORMS.items():
        engine = engine_of(llm, **options)
        engine.check()
        results = checked_search(engine, form_requests())
        found[name] = [[document.text for document in result.documents] for result in results]
    return found


def vars_of(outcome: Any) -> Any:
    """A completion as a list of its fields without the tokens, a failure as its text."""
    if isinstance(outcome, SearchFailure):
        return str(outcome)
    return [getattr(outcome, field.name) for field in fields(outcome) if field.name != "token_ids"]


def kill_engine(llm: Any) -> None:
    """End vLLM's process as one that ran out of memory would be."""
    manager = llm._loaded._llm.llm_engine.engine_core.resources.engine_manager
    for process in manager.processes:
        os.kill(process.pid, signal.SIGKILL)
        process.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
