"""Batches of episodes in the thread of the caller, with scripted samplers."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers import (
    QUESTION,
    ByteTokenizer,
    EchoEngine,
    FixedEngine,
    answer,
    end_while_waiting,
    mixed_policy,
    search,
)
from zs_env import Document, Question, Rules, SearchEngine, SearchFailure, SearchResult
from zs_env.concurrency.event_loop import engine_loop, run_to_end
from zs_env.engines import load_engine
from zs_env.episode import Assignment, Episode, Termination
from zs_env.errors import EngineContractError, RolloutError
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.play import TOKEN_RULES, play
from zs_env.tokens.rollout import rollout

ENCODER = TextEncoder(ByteTokenizer())
RULES = replace(TOKEN_RULES, max_turns=4, max_context=4096, turn_reserve=256)
PATIENCE_S = 30.0


def assignments(count):
    return [
        Assignment(Question(f"q{n}", f"Where was number {n} born?", ("x",)), n, 1000 + n, 0.5)
        for n in range(count)
    ]


def turn_for(token_ids):
    """What the scripted policy writes: the same context, the same turn."""
    text = mixed_policy(ENCODER.decode(token_ids))
    ids = ENCODER.tokenizer.encode(text, add_special_tokens=True)
    return ids, [-(position + 1) / 1024 for position in range(len(ids))]


def sample(requests):
    return [turn_for(request.token_ids) for request in requests]


def write(*turns):
    """A sampler of one episode that writes ``turns``."""
    left = [ENCODER.encode(turn) for turn in turns]
    return lambda requests: [(turn := left.pop(0), [-1.0] * len(turn)) for _ in requests]


def one_at_a_time():
    """A continuous sampler: in each call another of the requests is complete."""
    calls = [0]

    def sample_one(requests):
        calls[0] += 1
        done = calls[0] % len(requests)
        return [
            turn_for(request.token_ids) if number == done else None
            for number, request in enumerate(requests)
        ]

    return sample_one


def rolled_out(tasks, engine):
    """What `rollout` makes of the same."""

    async def generate(token_ids, stop, max_tokens):
        return turn_for(token_ids)

    async def play_one(task):
        episode = Episode(
            task.question,
            RULES,
            key=task.key,
            noise_probability=task.noise_probability,
            measure=ENCODER,
        )
        return await rollout(episode, engine, generate, ENCODER)

    async def play_all():
        return await asyncio.gather(*map(play_one, tasks))

    return asyncio.run(play_all())


def everything(trajectory):
    """All that a trajectory holds, as what can be compared."""
    arrays = (trajectory.token_ids, trajectory.response_mask, trajectory.log_probs)
    values = {name: value for name, value in vars(trajectory).items() if name not in (
        "token_ids", "response_mask", "log_probs",
    )}  # fmt: skip
    return [array.tolist() for array in arrays], values


@pytest.fixture(scope="module")
def reference():
    return rolled_out(assignments(60), EchoEngine())


def test_reference_is_varied(reference):
    """The comparison is worth something: every kind of episode occurs."""
    assert {t.termination for t in reference} >= {Termination.ANSWERED, Termination.TURNS_SPENT}
    assert {len(t.searches) for t in reference} == {0, 1, 2, 3}
    assert {record.noisy for t in reference for record in t.searches} == {True, False}
    assert any(t.info["num_invalid"] for t in reference)


@pytest.mark.parametrize("max_episodes", [None, 1, 7, 1000])
@pytest.mark.parametrize("sampler", [sample, one_at_a_time()])
def test_play_equals_rollout_token_for_token(reference, sampler, max_episodes):
    tasks = assignments(60)
    found = play(tasks, EchoEngine(), sampler, ENCODER, RULES, max_episodes=max_episodes)
    assert list(map(everything, found)) == list(map(everything, reference))
    for trajectory in found:
        trajectory.verify()


def test_play_requests_say_which_episode_asks_and_where():
    seen = {}

    def noting(requests):
        places = [request.place for request in requests]
        assert places == sorted(set(places)) and set(places) <= set(range(5))
        for request in requests:
            assert request.key == 1000 + request.episode
            assert seen.setdefault(request.episode, request.place) == request.place
            assert 0 < request.max_tokens <= RULES.turn_reserve
        return sample(requests)

    play(assignments(20), EchoEngine(), noting, ENCODER, RULES, max_episodes=5)
    assert sorted(seen) == [*range(20)] and set(seen.values()) == {*range(5)}


def test_play_asks_again_with_the_same_request_until_it_is_complete():
    asked = []

    def slowly(requests):
        asked.append(requests[0])
        return [None if len(asked) < 3 and len(requests) > 1 else turn_for(requests[0].token_ids),
                *(turn_for(request.token_ids) for request in requests[1:])]  # fmt: skip

    play(assignments(2), EchoEngine(), slowly, ENCODER, RULES)
    assert asked[0] is asked[1]


def test_play_of_nothing_is_nothing():
    assert play([], EchoEngine(), sample, ENCODER) == []


def test_play_turn_that_stops_in_an_open_thought_goes_on():
    pieces = ["<think>or <search>peru</search>", "</think>" + answer("jarrow corvale")]
    tasks = [Assignment(QUESTION, 0, 0, 0.0)]
    [trajectory] = play(tasks, FixedEngine(), write(*pieces), ENCODER)
    assert (trajectory.num_turns, trajectory.reward, len(trajectory.searches)) == (1, 1.0, 0)


def test_play_turn_of_6000_characters_is_read_to_its_end():
    """Trainers once left the limit of 4,096 characters in force: the answer at the end was lost."""
    turn = f"<think>{'hm ' * 2000}</think><answer>Jarrow Corvale</answer>"
    rules = replace(TOKEN_RULES, turn_reserve=8000)
    [trajectory] = play(
        [Assignment(QUESTION, 0, 0, 0.0)], FixedEngine(), write(turn), ENCODER, rules
    )
    assert (trajectory.reward, trajectory.info["cut_chars"]) == (1.0, 0)


def test_play_max_turn_tokens_ends_turns():
    tasks = [Assignment(QUESTION, 0, 0, 0.0)]

    def babble(requests):
        assert [request.max_tokens for request in requests] == [7]
        return [([65] * 7, [-1.0] * 7)]

    [trajectory] = play(tasks, FixedEngine(), babble, ENCODER, RULES, max_turn_tokens=7)
    assert trajectory.response_length == 7 * RULES.max_turns


# Whose thread


def test_play_samples_in_the_thread_of_the_caller_and_searches_elsewhere():
    threads = {"sample": set(), "search": set()}

    class Noting(FixedEngine):
        async def asearch(self, request):
            threads["search"].add(threading.current_thread())
            return self.result

    def noting(requests):
        threads["sample"].add(threading.current_thread())
        return sample(requests)

    play(assignments(20), Noting("x"), noting, ENCODER, RULES)
    assert threads["sample"] == {threading.current_thread()}
    assert threads["search"] and not threads["search"] & threads["sample"]


def test_play_sampler_sees_autocast_and_no_grad_of_the_caller():
    """They belong to a thread: a sampler once ran in another, in full precision."""
    torch = pytest.importorskip("torch")
    seen = set()

    def noting(requests):
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        seen.add((dtype, torch.is_grad_enabled()))
        return sample(requests)

    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        play(assignments(5), EchoEngine(), noting, ENCODER, RULES)
    assert seen == {(torch.bfloat16, False)}


def test_play_works_where_an_event_loop_is_running(reference):
    """As in a notebook."""

    async def cell():
        return play(assignments(60), EchoEngine(), sample, ENCODER, RULES)

    assert list(map(everything, asyncio.run(cell()))) == list(map(everything, reference))


def test_play_on_the_loop_of_engines_is_refused():
    """It would wait for a search that could never begin."""

    async def play_there():
        return play(assignments(1), EchoEngine(), sample, ENCODER)

    with pytest.raises(RuntimeError, match="cannot run on the loop of all engines"):
        run_to_end(play_there())


# Searches


class Gate(SearchEngine):
    """Answers at once, but the question "slow" only after `released`."""

    def __init__(self):
        self.asked, self.released = threading.Event(), threading.Event()
        self.cancelled = threading.Event()

    async def asearch(self, request):
        if request.question == "slow":
            self.asked.set()
            try:
                start = time.monotonic()
                while not self.released.is_set():
                    assert time.monotonic() < start + PATIENCE_S, "the others did not go on"
                    await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return SearchResult((Document("x"),))


SLOW = Assignment(Question("slow", "slow", ("x",)), 0, 0, 0.0)


def test_play_slow_search_does_not_hold_up_other_episodes():
    engine = Gate()
    turns = []

    def search_twice_then_answer(requests):
        texts = [ENCODER.decode(request.token_ids) for request in requests]
        for request in requests:
            turns.append(request.episode)
        others = [number for number in turns if number]
        if len(others) == 3 * 5 and not engine.released.is_set():  # all their turns
            assert turns.count(0) == 1 and engine.asked.is_set()
            engine.released.set()
        replies = [
            answer("x") if text.count("<information>\n") == 2 else search("y") for text in texts
        ]
        return [(ids := ENCODER.encode(reply), [-1.0] * len(ids)) for reply in replies]

    tasks = [SLOW, *assignments(5)]
    found = play(tasks, engine, search_twice_then_answer, ENCODER, RULES, max_episodes=3)
    assert [len(trajectory.searches) for trajectory in found] == [2] * 6
    assert all(trajectory.termination is Termination.ANSWERED for trajectory in found)


@pytest.mark.parametrize("engine", ["world", "bm25"])
def test_play_is_the_same_each_time_with_an_engine_that_computes(engine):
    """To the batches that are sampled: a training run resumes to the very same metrics."""
    batches = []

    def noting(requests):
        batches[-1].append([(request.episode, len(request.token_ids)) for request in requests])
        return one_at_a_time()(requests)

    for _ in range(5):
        batches.append([])
        play(assignments(60), load_engine(engine), noting, ENCODER, RULES, max_episodes=20)
    assert all(batch == batches[0] for batch in batches)
    searches = play(assignments(60), load_engine(engine), sample, ENCODER, RULES)
    assert sum(len(trajectory.searches) for trajectory in searches) > 50


def test_play_failed_search_ends_its_episode_alone():
    class Failing(SearchEngine):
        def search(self, requests):
            failed = SearchResult(failure=SearchFailure("no connection"))
            return [failed if r.question.endswith("2 born?") else SearchResult() for r in requests]

    def search_then_answer(requests):
        replies = [
            answer("x") if ENCODER.decode(r.token_ids).endswith("</information>\n") else search("y")
            for r in requests
        ]
        return [(ids := ENCODER.encode(reply), [-1.0] * len(ids)) for reply in replies]

    found = play(assignments(4), Failing(), search_then_answer, ENCODER, RULES)
    assert [t.search_failed for t in found] == [False, False, True, False]
    assert [t.reward for t in found] == [1.0, 1.0, 0.0, 1.0]
    assert found[2].verify().info["failure"] == "no connection"


@pytest.mark.parametrize("error", [ValueError("a defect"), KeyboardInterrupt(), SystemExit(3)])
def test_play_what_an_engine_raises_is_raised_and_other_searches_are_given_up(error):
    gate = Gate()

    class Raising(SearchEngine):
        async def asearch(self, request):
            if request.question == "slow":
                return await gate.asearch(request)
            while not gate.asked.is_set():
                await asyncio.sleep(0.001)
            raise error

    def always_search(requests):
        ids = ENCODER.encode(search("y"))
        return [(ids, [-1.0] * len(ids)) for _ in requests]

    with pytest.raises(type(error)) as raised:
        play([SLOW, *assignments(1)], Raising(), always_search, ENCODER, RULES)
    assert raised.value is error
    assert gate.cancelled.wait(PATIENCE_S)
    assert engine_loop().is_running()


def test_play_engine_that_breaks_its_contract_is_named():
    class Wrong(SearchEngine):
        async def asearch(self, request):
            return "documents"

    with pytest.raises(EngineContractError, match="Wrong must return SearchResult"):
        play([Assignment(QUESTION, 0, 0, 0.0)], Wrong(), write(search("y")), ENCODER)


def test_play_error_of_the_sampler_is_raised_and_searches_are_given_up():
    engine = Gate()

    def breaks_down(requests):
        if len(requests) == 2:
            ids = ENCODER.encode(search("y"))
            return [(ids, [-1.0] * len(ids)), None]
        assert engine.asked.wait(PATIENCE_S)
        raise MemoryError("out of memory")

    with pytest.raises(MemoryError):
        play([SLOW, *assignments(1)], engine, breaks_down, ENCODER, RULES)
    assert engine.cancelled.wait(PATIENCE_S)


def test_play_that_waits_for_a_search_is_ended_by_an_interrupt():
    program = """
import asyncio, threading
from tests.test_play import *

class Silent(SearchEngine):
    async def asearch(self, request):
        print("waits", flush=True)
        await asyncio.sleep(1000)

play([Assignment(QUESTION, 0, 0, 0.0)], Silent(), write(search("y")), ENCODER)
"""
    errors = end_while_waiting(program, 2, lambda: True)
    assert "KeyboardInterrupt" in errors


# Samplers that break the contract


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([None, None], "None for every request: at least one"),
        ([([65], [-1.0])], "a list with an entry for each of 2 requests, got 1"),
        (None, "an entry for each of 2 requests, got NoneType"),
        ([([], []), None], "1 to 256 token ids and as many log-probabilities, got 0 and 0"),
        ([([65], []), None], "1 to 256 token ids and as many log-probabilities, got 1 and 0"),
        ([([65] * 257, [-1.0] * 257), None], "1 to 256 token ids .*, got 257 and 257"),
    ],
)
def test_play_sampler_that_breaks_its_contract_is_named(answers, message):
    with pytest.raises(RolloutError, match=message):
        play(assignments(2), EchoEngine(), lambda requests: answers, ENCODER, RULES)


def test_play_numbers_out_of_their_range_are_refused():
    with pytest.raises(ValueError, match="`max_episodes` must be at least 1, got 0"):
        play(assignments(1), EchoEngine(), sample, ENCODER, max_episodes=0)
    with pytest.raises(ValueError, match=r"`max_turn_tokens` must be in \[1, 256\], got 257"):
        play(assignments(1), EchoEngine(), sample, ENCODER, RULES, max_turn_tokens=257)
    with pytest.raises(ValueError, match="and only 300 is allowed"):
        small = Rules(max_context=300, turn_reserve=256)
        play(assignments(1), EchoEngine(), sample, ENCODER, small)


# Limits of prompt and response


def test_rules_max_response_keeps_every_response_within_it():
    """Trainers that limit prompt and response apart were given responses that are too long."""
    limits = {"max_prompt_tokens": 2000, "max_response_tokens": 700}
    rules = replace(RULES, max_turns=6, max_context=2700, max_response=700, turn_reserve=100)
    found = play(assignments(60), EchoEngine(), sample, ENCODER, rules)
    splits = [trajectory.verify().split(**limits) for trajectory in found]
    lengths = [len(split.response_ids) for split in splits]
    assert 600 < max(lengths) <= 700
    assert any(t.termination is Termination.CONTEXT_EXCEEDED for t in found)
    for trajectory, split in zip(found, splits, strict=True):
        assert split.response_mask[-1], "it ends on a token of the policy"
        joined = np.concatenate([split.prompt_ids, split.response_ids])
        assert joined.tolist() == trajectory.token_ids.tolist()
