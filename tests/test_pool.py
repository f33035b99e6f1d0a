"""Stepping without a barrier."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded

from tests.helpers import EchoEngine, FixedEngine, answer, end_while_waiting, search
from zs_env import Document, SearchEngine, SearchFailure, SearchResult
from zs_env.envs.pool import EpisodePool
from zs_env.errors import EngineContractError


class GateEngine(SearchEngine):
    """Answers a query when its gate is opened, in whatever order; fails those named so."""

    def __init__(self):
        self.gates = {}

    async def asearch(self, request):
        gate = self.gates.setdefault(request.query, threading.Event())
        while not gate.is_set():
            await asyncio.sleep(0.001)
        if request.query.startswith("fail"):
            raise SearchFailure("no luck")
        return SearchResult((Document(f"about {request.query}"),))

    def open(self, query):
        self.gates.setdefault(query, threading.Event()).set()


class SlowEngine(SearchEngine):
    """Takes a random time for each request."""

    async def asearch(self, request):
        await asyncio.sleep(random.random() * 0.02)
        return SearchResult((Document(f"{request.query} {request.key}"),))


def begun(num_episodes, engine=None, **kwargs):
    pool = EpisodePool(num_episodes, engine=engine or EchoEngine(), **kwargs)
    pool.reset(seed=0)
    return pool, pool.recv()


def test_pool_first_gives_every_prompt():
    pool, ready = begun(3)
    assert ready.episode_ids.tolist() == [0, 1, 2]
    assert ready.episode_ids.dtype == np.int64 and ready.rewards.dtype == np.float64
    assert all("Question: " in text for text in ready.observations)
    assert [info["noise_probability"] for info in ready.infos] == [0.0] * 3
    assert not (ready.terminations | ready.truncations).any()
    assert pool.num_running == 3


def test_pool_gives_whoever_is_ready_and_waits_for_no_other():
    engine = GateEngine()
    pool, _ = begun(3, engine)
    pool.send([0, 1, 2], [search("slow"), search("quick"), answer("Lima")])
    assert pool.recv().episode_ids.tolist() == [2], "an answer waits for nobody"
    engine.open("quick")
    ready = pool.recv()
    assert ready.episode_ids.tolist() == [1] and "about quick" in ready.observations[0]
    pool.send([1], [answer("x")])
    assert pool.recv().terminations.tolist() == [True]
    engine.open("slow")
    assert "about slow" in pool.recv().observations[0]


def test_pool_waits_for_as_many_as_are_wanted_or_can_come():
    engine = GateEngine()
    pool, _ = begun(4, engine)
    pool.send([0, 1, 2], [search(name) for name in "abc"])
    timer = threading.Timer(0.1, lambda: [engine.open(name) for name in "abc"])
    engine.open("a")
    timer.start()
    assert pool.recv(min_ready=3).episode_ids.tolist() == [0, 1, 2]
    pool.send([0], [answer("x")])
    assert pool.recv(min_ready=100).episode_ids.tolist() == [0], "no more can come"


def test_pool_failure_truncates_its_episode_alone():
    engine = GateEngine()
    for name in ("fail", "a"):
        engine.open(name)
    pool, _ = begun(2, engine)
    pool.send([0, 1], [search("fail"), search("a")])
    ready = pool.recv(min_ready=2)
    assert ready.truncations.tolist() == [True, False]
    assert ready.infos[0]["search_failed"] and ready.rewards.tolist() == [0.0, 0.0]
    assert pool.num_running == 1


def test_pool_finished_episode_is_given_once_and_begins_anew_with_its_next_question():
    pool, first = begun(2)
    pool.send([0], [answer("x")])
    assert pool.recv().terminations.tolist() == [True]
    with pytest.raises(ResetNeeded, match="no episode is under way"):
        pool.recv()
    with pytest.raises(ResetNeeded, match="episode 0 waits for no action"):
        pool.send([0], [answer("x")])
    pool.reset([0])
    ready = pool.recv()
    assert ready.episode_ids.tolist() == [0]
    assert ready.observations[0] != first.observations[0]
    pool.send([1], [answer("x")])
    assert pool.num_running == 2


def test_pool_reset_drops_a_search_that_is_under_way():
    engine = GateEngine()
    pool, _ = begun(1, engine)
    pool.send([0], [search("old")])
    pool.reset(seed=5)
    pool.recv()
    pool.send([0], [search("new")])
    engine.open("old")
    time.sleep(0.05)
    engine.open("new")
    ready = pool.recv()
    assert "about new" in ready.observations[0] and "about old" not in ready.observations[0]


def test_pool_reset_takes_seeds_progress_questions_and_keys():
    pool = EpisodePool(2, engine=FixedEngine("x"), noise="linear", noise_end=1.0)
    pool.reset(seed=3, options={"progress": 0.5})
    first = pool.recv()
    assert first.infos[0]["progress"] == 0.5 and first.infos[0]["noise_probability"] == 0.5
    question = first.infos[1]["question_id"]
    pool.reset(options={"question": question, "key": 7})
    ready = pool.recv()
    assert [info["question_id"] for info in ready.infos] == [question] * 2
    assert pool.episode(0).key == pool.episode(1).key == 7
    pool.reset(seed=3)
    again = pool.recv()
    assert again.observations == first.observations


def test_pool_delta_observation_has_only_the_news():
    pool, _ = begun(1, FixedEngine("fact"), observation="delta")
    pool.send([0], [search("a")])
    assert pool.recv().observations == ("\n<information>\nDoc 1: fact\n</information>\n",)


@pytest.mark.parametrize(
    ("ids", "actions", "error", "message"),
    [
        ([0], ["a", "b"], ValueError, "must be 1 strings, .* length 2"),
        ([0, 1], "ab", ValueError, "must be 2 strings, .* got str"),
        ([0, 0], ["a", "b"], ValueError, "must differ"),
        ([7], ["a"], ValueError, "episode ids are 0 to 1, got 7"),
        ([-1], ["a"], ValueError, "got -1"),
        ([0], [3], InvalidAction, "must be a str"),
    ],
)
def test_pool_wrong_send_is_refused_and_changes_nothing(ids, actions, error, message):
    pool, _ = begun(2)
    with pytest.raises(error, match=message):
        pool.send(ids, actions)
    pool.send([0, 1], [answer("x")] * 2)
    assert pool.recv().terminations.all()


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"num_episodes": 0}, ValueError),
        ({"num_episodes": 1, "observation": "all"}, ValueError),
        ({"num_episodes": 1, "engin": "world"}, TypeError),
    ],
)
def test_pool_wrong_argument_is_refused(kwargs, error):
    with pytest.raises(error):
        EpisodePool(**kwargs)


def test_pool_before_reset_says_so():
    pool = EpisodePool(1)
    with pytest.raises(ResetNeeded):
        pool.recv()
    with pytest.raises(ResetNeeded):
        pool.episode(0)


@pytest.mark.parametrize(
    ("returned", "error"),
    [("text", EngineContractError), (ZeroDivisionError, ZeroDivisionError)],
)
def test_pool_defect_of_the_engine_is_raised(returned, error):
    class Broken(SearchEngine):
        async def asearch(self, request):
            if isinstance(returned, type):
                raise returned
            return returned

    pool, _ = begun(1, Broken())
    pool.send([0], [search("a")])
    with pytest.raises(error):
        pool.recv()


def test_pool_reward_that_raises_leaves_the_others_of_its_send_playing():
    """They waited for ever for searches that had never been sent."""

    def reward(prediction, golden_answers):
        raise ZeroDivisionError

    pool, _ = begun(3, reward=reward)
    with pytest.raises(ZeroDivisionError):
        pool.send([0, 1, 2], [search("a"), answer("x"), search("b")])
    ready = pool.recv()
    assert ready.episode_ids.tolist() == [0] and "Doc 1: a /" in ready.observations[0]


class BatchEngine(SearchEngine):
    """Has only `search`, takes a while for each call, and is never called twice at once."""

    def __init__(self, seconds=0.02):
        self.seconds = seconds
        self.sizes = []
        self.running = 0

    def search(self, requests):
        self.running += 1
        assert self.running == 1
        self.sizes.append(len(requests))
        time.sleep(self.seconds)
        self.running -= 1
        return [SearchResult((Document(request.query),)) for request in requests]


def test_pool_gives_an_engine_without_asearch_whole_batches():
    engine = BatchEngine()
    pool, _ = begun(64, engine)
    pool.send(range(64), [search(f"q{i}") for i in range(64)])
    ready = pool.recv(min_ready=64)
    assert all(f"Doc 1: q{i}\n" in text for i, text in enumerate(ready.observations))
    assert sum(engine.sizes) == 64 and len(engine.sizes) <= 3


def test_pool_order_of_replies_and_size_change_no_transcript():
    def play(num_episodes):
        pool, ready = begun(num_episodes, SlowEngine(), noise="constant")
        while True:
            acting = [i for i in ready.episode_ids if not pool.episode(i).finished]
            searches = {i: pool.episode(i).num_searches for i in acting}
            pool.send(
                acting,
                [answer("x") if searches[i] > i % 4 else search(f"q{i}") for i in acting],
            )
            if not pool.num_running:
                return [pool.episode(i).transcript for i in range(num_episodes)]
            ready = pool.recv()

    many, again, few = play(64), play(64), play(8)
    assert many == again and many[:8] == few


def test_pool_close_stops_waiting_and_is_harmless_twice():
    pool, _ = begun(1, GateEngine())
    pool.send([0], [search("never")])
    pool.close()
    pool.close()
    with pytest.raises(ResetNeeded):
        pool.recv()


@pytest.mark.parametrize("engine", ["GateEngine()", "BatchEngine(60.0)"])
def test_pool_interrupt_ends_a_program_that_waits(engine):
    program = (
        "from tests.test_pool import *\n"
        f"pool, _ = begun(1, {engine})\n"
        "pool.send([0], [search('never')])\n"
        "print('waits', flush=True)\n"
        "pool.recv()\n"
    )
    errors = end_while_waiting(program, signal.SIGINT, lambda: time.sleep(0.5) or True)
    assert errors.strip().endswith("KeyboardInterrupt"), errors
