"""One policy, one transcript: every driver steps the same state machine."""

from __future__ import annotations

import asyncio
import random

import gymnasium as gym
import numpy as np
import pytest

from tests.helpers import ByteTokenizer, mixed_policy
from zs_env import SearchRequest
from zs_env.engines import checked_search, load_engine
from zs_env.envs.pool import EpisodePool
from zs_env.envs.text_vector_env import ZeroSearchVectorEnv
from zs_env.envs.token_vector_env import ZeroSearchTokenVectorEnv
from zs_env.episode import Episode
from zs_env.tokens.rollout import rollout


def answer_length(prediction, golden_answers):
    """A reward that tells answers apart; by chance none of them is right."""
    return float(len(prediction))


KWARGS = {"noise": "constant", "noise_end": 0.5, "reward": answer_length}
NUM_EPISODES = 256
SEED = 100


def summary(episode: Episode) -> tuple:
    """All that an algorithm can learn from."""
    return (
        episode.transcript,
        [(segment.role.value, segment.noisy) for segment in episode.segments],
        episode.reward,
        episode.terminated,
        episode.truncated,
        episode.info(),
    )


def drive_single(num_envs):
    summaries = []
    for i in range(num_envs):
        env = gym.make("ZeroSearch-v0", **KWARGS)
        observation, _ = env.reset(seed=SEED + i)
        while not env.unwrapped.episode.finished:
            observation = env.step(mixed_policy(observation))[0]
        summaries.append(summary(env.unwrapped.episode))
    return summaries


def drive_vector(envs, episodes_of):
    """Step with NextStep autoreset until every first episode is over."""
    num_envs = envs.num_envs
    observations, _ = envs.reset(seed=SEED)
    first = episodes_of(envs)
    while not all(episode.finished for episode in first):
        observations = envs.step([mixed_policy(text) for text in observations])[0]
    return [summary(episode) for episode in first[:num_envs]]


def drive_sync(num_envs):
    envs = gym.make_vec("ZeroSearch-v0", num_envs=num_envs, vectorization_mode="sync", **KWARGS)
    return drive_vector(envs, lambda e: [env.unwrapped.episode for env in e.envs])


def drive_native(num_envs, mode="NextStep"):
    envs = ZeroSearchVectorEnv(num_envs=num_envs, autoreset_mode=mode, **KWARGS)
    return drive_vector(envs, lambda e: e.episodes)


def begun(num_envs):
    """The bare state machines, before their first turn."""
    env = gym.make("ZeroSearch-v0", **KWARGS).unwrapped
    episodes = []
    for i in range(num_envs):
        env.reset(seed=SEED + i)
        episodes.append(env.episode)
    return episodes


def drive_in_any_order(num_envs):
    """The bare state machines, whose documents come back in random order and batches."""
    draw = random.Random(0)
    episodes = begun(num_envs)
    engine = load_engine("world")
    waiting: dict[int, SearchRequest] = {}  # by number of the episode
    while running := [i for i, episode in enumerate(episodes) if not episode.finished]:
        ready = [i for i in running if i not in waiting]
        if ready and draw.random() < 0.8:
            i = draw.choice(ready)
            request = episodes[i].act(mixed_policy(episodes[i].transcript))
            if request is not None:
                waiting[i] = request
        elif waiting:
            batch = draw.sample(sorted(waiting), draw.randint(1, len(waiting)))
            results = checked_search(engine, [waiting.pop(i) for i in batch])
            for i, result in zip(batch, results, strict=True):
                episodes[i].observe(result)
    return [summary(episode) for episode in episodes]


def drive_pool(num_envs):
    """Whoever is ready, as few at a time as can be."""
    pool = EpisodePool(num_envs, **KWARGS)
    pool.reset(seed=SEED)
    while pool.num_running:
        ready = pool.recv()
        acting = [
            (i, mixed_policy(text))
            for i, text in zip(ready.episode_ids, ready.observations, strict=True)
            if not pool.episode(i).finished
        ]
        for i, action in acting:
            pool.send([i], [action])
    return [summary(pool.episode(i)) for i in range(num_envs)]


def drive_rollout(num_envs):
    """Token by token, all at once; what the ledger says of an episode is true of it."""
    tokenizer = ByteTokenizer()
    engine = load_engine("world")

    async def play(episode):
        async def generate(token_ids, stop, max_tokens):
            ids = tokenizer.encode(mixed_policy(episode.transcript), add_special_tokens=True)
            return ids, [-1.0] * len(ids)

        trajectory = await rollout(episode, engine, generate, tokenizer)
        assert trajectory.verify().info == episode.info()
        assert trajectory.reward == episode.reward
        assert [(segment.role, segment.noisy) for segment in trajectory.segments] == (
            [(segment.role, segment.noisy) for segment in episode.segments]
        )
        return summary(episode)

    async def play_all():
        return await asyncio.gather(*map(play, begun(num_envs)))

    return asyncio.run(play_all())


def drive_tokens(num_envs):
    """A token at a time, whatever the turn: most tags are split over several tokens."""
    tokenizer = ByteTokenizer()
    envs = ZeroSearchTokenVectorEnv(
        num_envs, tokenizer=tokenizer, masking="vocabulary",
        context_length=8192, max_turn_tokens=512, **KWARGS,
    )  # fmt: skip
    envs.reset(seed=SEED)
    first = envs.episodes
    begun: list[int | None] = [None] * num_envs  # the turn that is being written
    unwritten = [[]] * num_envs
    while not all(episode.finished for episode in first):
        tokens = np.full(num_envs, tokenizer.eos_token_id)
        for i, episode in enumerate(first):
            if not episode.finished:
                if begun[i] != episode.turn:
                    begun[i] = episode.turn
                    text = mixed_policy(episode.transcript)
                    unwritten[i] = tokenizer.encode(text, add_special_tokens=True)
                tokens[i] = unwritten[i].pop(0)
        envs.step(tokens)
    return [summary(episode) for episode in first]


@pytest.fixture(scope="module")
def reference():
    return drive_single(NUM_EPISODES)


def test_reference_is_varied(reference):
    """The comparison is worth something: every kind of episode occurs."""
    infos = [one[-1] for one in reference]
    assert {info["num_searches"] for info in infos} >= {0, 1, 2, 3}
    assert any(info["num_invalid"] for info in infos)
    assert any(info["cut_chars"] for info in infos)
    assert {one[3] for one in reference} == {True, False}
    noisy = [noisy for one in reference for role, noisy in one[1] if role == "information"]
    assert 0.4 < sum(noisy) / len(noisy) < 0.6
    assert len({one[2] for one in reference}) > 5


@pytest.mark.parametrize("num_envs", [1, 7, NUM_EPISODES])
@pytest.mark.parametrize("drive", [drive_sync, drive_native, drive_pool, drive_rollout])
def test_drivers_agree_on_every_episode(reference, drive, num_envs):
    assert drive(num_envs) == reference[:num_envs]


def test_drivers_agree_in_any_order_of_completion(reference):
    assert drive_in_any_order(NUM_EPISODES) == reference


@pytest.mark.parametrize("num_envs", [1, 7, NUM_EPISODES])
def test_token_driver_agrees_on_every_episode(reference, num_envs):
    """Only that it cannot write behind an action, so nothing is cut there."""
    for driven, expected in zip(drive_tokens(num_envs), reference, strict=False):
        assert driven[:-1] == expected[:-1]
        assert driven[-1].pop("cut_chars") == 0
        assert driven[-1] == {k: v for k, v in expected[-1].items() if k != "cut_chars"}
