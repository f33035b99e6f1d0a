"""Clients of a simulation LLM that `benchmarks.rollout_latency` compares, and the least of all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, NamedTuple

import aiohttp

from benchmarks.chat_server import MODEL
from zs_env import Episode, SearchEngine, keyed_random
from zs_env.engines import checked_search, load_engine
from zs_env.envs.pool import EpisodePool
from zs_env.envs.text_vector_env import ZeroSearchVectorEnv
from zs_env.episode import Termination
from zs_env.episodes import EpisodeSource, EpisodeStream
from zs_env.llm import ChatRequest
from zs_env.settings import TextSettings
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.rollout import rollout

ANSWER = "<think>I know enough.</think><answer>Lima</answer>"
SHARES = (0.46, 0.80)
"""Shares of episodes that search at most once, and at most twice: 1.74 searches in the mean."""


class Outcome(NamedTuple):
    """Transcript and reward of an episode, and whether a search of it failed."""

    transcript: str
    reward: float
    lost: bool


Results = list[Outcome]


class Setting(NamedTuple):
    """Task of all clients: ``num_episodes`` episodes, with ``engine`` at ``base_url``."""

    num_episodes: int
    base_url: str
    engine: SearchEngine


def policy(episode: Episode) -> str:
    """Search as often as is drawn for the episode, then answer."""
    drawn = keyed_random.uniform("searches", episode.key)
    if episode.num_searches < 1 + sum(drawn >= share for share in SHARES):
        return f"<think>I lack a fact.</think><search>fact {episode.turn}</search>"
    return ANSWER


def begin(setting: Setting) -> list[Episode]:
    """Make the episodes with which environments of seeds 0, 1, … begin."""
    settings = TextSettings(engine=setting.engine)
    source = EpisodeSource(settings, settings.limits)
    return [EpisodeStream(source, seed).next(0.0) for seed in range(setting.num_episodes)]


def results_of(episodes: Sequence[Episode]) -> Results:
    """Return the outcome of each episode."""
    return [
        Outcome(
            episode.transcript,
            episode.reward,
            episode.termination is Termination.SEARCH_FAILED,
        )
        for episode in episodes
    ]


def play_pool(setting: Setting) -> Results:
    """Play with `EpisodePool`, each episode as soon as it is ready."""
    pool = EpisodePool(setting.num_episodes, engine=setting.engine, observation="delta")
    pool.reset(seed=0)
    while pool.num_running:
        ready = pool.recv()
        ids = [int(i) for i in ready.episode_ids if not pool.episode(i).finished]
        pool.send(ids, [policy(pool.episode(i)) for i in ids])
    return results_of([pool.episode(i) for i in range(setting.num_episodes)])


class ByteTokenizer:
    """Tokenizer with a token for each byte of a text, and one for its end."""

    eos_token_id = 256

    def encode(self, text: str, *, add_special_tokens: bool, **_: Any) -> list[int]:
        """Return the bytes of ``text``."""
        return list(text.encode())

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of bytes, or of the end."""
        return "" if token_ids == [self.eos_token_id] else bytes(token_ids).decode()


def play_rollout(setting: Setting) -> Results:
    """Play with `rollout`, all episodes at once on one event loop."""
    tokenizer = ByteTokenizer()
    encoder = TextEncoder(tokenizer)

    async def play(episode: Episode) -> None:
        async def generate(
            token_ids: Sequence[int], stop: Sequence[str], max_tokens: int
        ) -> tuple[list[int], list[float]]:
            ids = tokenizer.encode(policy(episode), add_special_tokens=False)
            return ids, [0.0] * len(ids)

        await rollout(episode, setting.engine, generate, encoder)

    async def play_all(episodes: Sequence[Episode]) -> None:
        await asyncio.gather(*map(play, episodes))

    episodes = begin(setting)
    asyncio.run(play_all(episodes))
    return results_of(episodes)


def play_lock_step(setting: Setting) -> Results:
    """Play with `ZeroSearchVectorEnv`: each turn waits for the slowest search of the last."""
    envs = ZeroSearchVectorEnv(setting.num_episodes, engine=setting.engine, observation="delta")
    envs.reset(seed=0)
    first = envs.episodes
    while not all(episode.finished for episode in first):
        envs.step([ANSWER if episode.finished else policy(episode) for episode in first])
    return results_of(first)


def play_ten_threads(setting: Setting) -> Results:
    """Play in lock-step, with ten threads that wait for one search each, as the reference does."""
    episodes = begin(setting)
    with ThreadPoolExecutor(10) as executor:
        while running := [episode for episode in episodes if not episode.finished]:
            asked = [(episode, episode.act(policy(episode))) for episode in running]
            searches = [(episode, request) for episode, request in asked if request is not None]
            found = executor.map(
                lambda search: checked_search(setting.engine, [search[1]])[0], searches
            )
            for (episode, _), result in zip(searches, found, strict=True):
                episode.observe(result)
    return results_of(episodes)


def record_bodies(num_episodes: int) -> list[list[dict[str, Any]]]:
    """Return the bodies that the engine posts for each episode, turn by turn."""
    asked: dict[str, ChatRequest] = {}

    def note(request: ChatRequest) -> str:
        asked[request.messages[0].content + str(request.seed)] = request
        return "\n".join(f"Doc {i}: page" for i in range(1, 6))

    engine = load_engine({"name": "simulated", "llm": "scripted", "script": note})
    bodies: list[list[dict[str, Any]]] = []
    for episode in begin(Setting(num_episodes, "", engine)):
        asked.clear()
        while not episode.finished:
            request = episode.act(policy(episode))
            if request is not None:
                episode.observe(checked_search(engine, [request])[0])
        bodies.append([body_of(request) for request in asked.values()])
    return bodies


def body_of(request: ChatRequest) -> dict[str, Any]:
    """Return the body that is posted to a server for ``request``."""
    body = {"model": MODEL, **asdict(request)}
    body["messages"] = [message._asdict() for message in request.messages]
    return body


def floor(setting: Setting, bodies: Sequence[Sequence[dict[str, Any]]]) -> None:
    """Send the same bodies with asyncio and aiohttp alone."""

    async def play(session: aiohttp.ClientSession, turns: Sequence[dict[str, Any]]) -> None:
        for body in turns:
            async with session.post(f"{setting.base_url}/chat/completions", json=body) as response:
                await response.json()

    async def play_all() -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(play(session, turns) for turns in bodies))

    asyncio.run(play_all())


POOL, ROLLOUT, LOCK_STEP, THREADS = (
    "EpisodePool",
    "rollout()",
    "lock-step vector env",
    "ten threads",
)
CLIENTS: dict[str, Callable[[Setting], Results]] = {
    POOL: play_pool,
    ROLLOUT: play_rollout,
    LOCK_STEP: play_lock_step,
    THREADS: play_ten_threads,
}
"""Clients by their name."""
