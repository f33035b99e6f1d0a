"""Searches that a random model can answer, because its grammar is held to that of documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym

import zs_env  # noqa: F401  (registers the environments)
from tests.helpers import search
from zs_env import SearchRequest
from zs_env.llm import ChatRequest, Message

TOP_K = 3
NUM_ENVS, NUM_STEPS = 50, 4

DOCUMENTS = rf"(Doc [1-9]: ([a-z]{{2,8}} ){{3,6}}[a-z]{{2,8}}\n){{{TOP_K}}}"
"""A regular expression for vLLM's structured outputs; the words are the model's own."""


def engine_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a simulated engine; ``options`` are those of its model."""
    return {"name": "simulated", "template": "fine-tuned", **options}


def play_searches(engine: Any, seed: int = 0) -> tuple[list[str], dict[str, Any]]:
    """Search in every turn of 50 environments; the transcripts, and what was used."""
    envs = gym.make_vec(
        "ZeroSearch-v0",
        num_envs=NUM_ENVS,
        engine=engine,
        top_k=TOP_K,
        max_turns=NUM_STEPS + 1,
    )
    try:
        envs.reset(seed=seed, options={"progress": 1.0})
        for turn in range(NUM_STEPS):
            observations, *_ = envs.step([search(f"turn {turn} of {i}") for i in range(NUM_ENVS)])
        return list(observations), counts_of(envs.unwrapped.source.engine)
    finally:
        envs.close()


def counts_of(engine: Any) -> dict[str, int]:
    """What the searches of ``engine`` have used, but for the time."""
    return {name: count for name, count in vars(engine.usage).items() if name != "seconds"}


def play_alone(engine: Any, place: int, seed: int = 0) -> str:
    """The transcript of environment ``place``, played alone."""
    env = gym.make(
        "ZeroSearch-v0",
        engine=engine,
        top_k=TOP_K,
        max_turns=NUM_STEPS + 1,
    )
    try:
        env.reset(seed=seed + place, options={"progress": 1.0})
        for turn in range(NUM_STEPS):
            observation, *_ = env.step(search(f"turn {turn} of {place}"))
        return str(observation)
    finally:
        env.close()


def search_requests(count: int, key: int = 0) -> list[SearchRequest]:
    """Requests of several lengths, useful and noisy."""
    return [
        SearchRequest(
            query=f"rivers {i}",
            question="Into which sea does the longest river flow? " * (1 + i % 5),
            golden_answers=("the Pale Sea",),
            noisy=bool(i % 2),
            top_k=TOP_K,
            key=key + i,
        )
        for i in range(count)
    ]


FORMS: dict[str, dict[str, Any]] = {
    "prefill": {"prefill": True, "max_tokens": 12},
    "regex": {"grammar": "regex"},
    "prefill and regex": {"grammar": "regex", "prefill": True},
    "json": {"grammar": "json", "max_tokens": 60},
}
"""Options of the engine that hold any model to the form of documents, by name."""


def form_requests() -> list[SearchRequest]:
    """Requests for short documents: a random model ends none by itself."""
    return [request._replace(document_words=3) for request in search_requests(6)]


def greedy_requests() -> list[ChatRequest]:
    """Chats of several lengths, with and without a system's message."""
    chats: Sequence[tuple[Message, ...]] = [
        (Message("user", "What is the longest river in Ardonia?"),),
        (Message("user", "Doc 1: " + "The Veld is the longest river. " * 30),),
        (Message("system", "You play the search engine."), Message("user", "hills")),
        (Message("user", "a"), Message("assistant", "b"), Message("user", "c")),
        *((Message("user", "boat " * length),) for length in (1, 5, 50, 200)),
    ]
    return [
        ChatRequest(chat, temperature=0.0, max_tokens=20 + 5 * i) for i, chat in enumerate(chats)
    ]
