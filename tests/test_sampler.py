"""Sampling of many episodes at once: what is drawn, with which probability, and when it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import Future
from threading import Thread

import pytest

pytest.importorskip("torch")

import torch

from agents.sampling import sampler
from agents.sampling.player import Player
from agents.sampling.policy import Policy, load_policy
from agents.sampling.sampler import Sampler
from agents.tiny.tokenizer import make_tokenizer
from tests.helpers import EchoEngine, tiny_model
from zs_env import Document, Episode, Question, Rules, SearchEngine, SearchResult
from zs_env.actions import STOP
from zs_env.concurrency.event_loop import run_to_end
from zs_env.episode import Assignment, Role
from zs_env.keyed_random import derive_key
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.rollout import rollout

# Logits to add, so that a random model searches, answers and ends its turns now and then.
HABITS = {"<search>": 5.5, "</search>": 5.5, "<answer>": 3.5, "</answer>": 4.5, "[end]": 3.5}
RULES = Rules(max_turns=3, top_k=1, prompt_template="{question}", max_context=160, turn_reserve=24)
CONTEXTS = [list(range(5, 5 + length)) for length in (1, 3, 8, 20)]
PATIENCE_OF_THE_TEST = 120.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"), make_tokenizer(), initializer_range=0.4)


@pytest.fixture
def make_policy(folder):
    def make(habits=HABITS, **options) -> Policy:
        policy = load_policy(folder, **options).eval()
        bias = torch.zeros(policy.model.config.vocab_size)
        for word, logit in habits.items():
            bias[policy.tokenizer.convert_tokens_to_ids(word)] = logit
        policy.model.lm_head.bias = torch.nn.Parameter(bias)
        return policy

    return make


def assignments(count):
    """Questions of different lengths, half of the searches noisy."""
    words = "where was the founder of the rival of the company born".split()
    return [
        Assignment(
            Question(f"q{number}", " ".join(words[: 2 + number % 9]), ("someone",)),
            key=derive_key("episode", number),
            sampling_key=derive_key("sample", number),
            noise_probability=0.5,
        )
        for number in range(count)
    ]


def play(policy, num_rows, count=16):
    return Player(policy, EchoEngine(), RULES, num_rows).play(assignments(count))


def sample(policy, requests, *, num_rows=None, stop=STOP, greedy=False):
    """What sessions draw that begin together: (context, key, most tokens) -> ids, log-probs."""

    async def gather():
        sampling = Sampler(policy, num_rows or len(requests), 64, greedy=greedy)
        sessions = [sampling.session(key) for _, key, _ in requests]
        calls = (s(ids, stop, most) for s, (ids, _, most) in zip(sessions, requests, strict=True))
        return await asyncio.wait_for(asyncio.gather(*calls), PATIENCE_OF_THE_TEST)

    return asyncio.run(gather())


def generated(policy, ids, max_tokens):
    """What transformers itself takes for the likeliest continuation."""
    output = policy.model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=max_tokens,
        pad_token_id=policy.tokenizer.pad_token_id,
    )
    return output[0, len(ids) :].tolist()


def test_sampled_log_probs_equal_those_of_the_trained_model(make_policy):
    policy = make_policy(temperature=0.8)
    trajectories = play(policy, num_rows=5)
    assert {s.role for t in trajectories for s in t.segments} == set(Role)
    for trajectory in trajectories:
        ids = torch.from_numpy(trajectory.token_ids).long()[None]
        with torch.no_grad():
            output = policy(ids, torch.from_numpy(trajectory.response_mask)[None])
        trajectory.verify(output.log_probs[0].numpy(), 1e-4)
        assert len(trajectory) <= RULES.max_context


@pytest.mark.parametrize("num_rows", [1, 3])
def test_trajectories_do_not_depend_on_the_number_of_rows(make_policy, num_rows):
    policy = make_policy()
    assert_same(play(policy, num_rows), play(policy, num_rows=16))


@pytest.mark.parametrize(("prefill_tokens", "patience"), [(1, 1), (40, 1000), (10**6, 0)])
def test_trajectories_do_not_depend_on_how_context_is_read(
    make_policy, monkeypatch, prefill_tokens, patience
):
    policy = make_policy()
    expected = play(policy, num_rows=7)
    monkeypatch.setattr(sampler, "PREFILL_TOKENS", prefill_tokens)
    monkeypatch.setattr(sampler, "PATIENCE", patience)
    assert_same(play(policy, num_rows=7), expected)


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        assert a.question_id == b.question_id
        assert a.token_ids.tolist() == b.token_ids.tolist()
        assert a.segments == b.segments
        assert a.searches == b.searches
        assert (a.reward, a.termination) == (b.reward, b.termination)
        assert a.log_probs == pytest.approx(b.log_probs, abs=1e-4)


def test_episodes_draw_by_their_own_key(make_policy):
    policy = make_policy()
    requests = [(CONTEXTS[1], key, 8) for key in (1, 2, 1)]
    (first, _), (second, _), (third, _) = sample(policy, requests)
    assert first == third != second


def test_greedy_session_equals_generate_of_transformers(make_policy):
    policy = make_policy(habits={})
    found = sample(policy, [(ids, 0, 20) for ids in CONTEXTS], stop=(), greedy=True)
    expected = [generated(policy, ids, 20) for ids in CONTEXTS]
    assert [ids for ids, _ in found] == expected
    assert len({tuple(ids) for ids in expected}) == len(CONTEXTS)
    assert max(len(set(ids)) for ids in expected) > 5  # it says more than one thing


def test_greedy_session_second_turn_equals_generate_on_the_whole_context(make_policy):
    policy = make_policy(habits={})

    async def two_turns():
        sampling = Sampler(policy, 2, 64, greedy=True)
        session, other = sampling.session(0), sampling.session(0)
        await other(CONTEXTS[2], (), 9)
        first, _ = await session(CONTEXTS[1], (), 6)
        context = [*CONTEXTS[1], *first, 40, 41, 42]
        second, _ = await session(context, (), 12)
        elsewhere, _ = await session(CONTEXTS[3], (), 12)  # nothing in common with before
        return context, second, elsewhere

    context, second, elsewhere = asyncio.run(two_turns())
    assert second == generated(policy, context, 12)
    assert elsewhere == generated(policy, CONTEXTS[3], 12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampled_log_probs_honour_the_temperature(make_policy, temperature):
    policy = make_policy(temperature=temperature)
    [(ids, log_probs)] = sample(policy, [(CONTEXTS[2], 3, 10)], stop=())
    sequence = torch.tensor([[*CONTEXTS[2], *ids]])
    with torch.no_grad():
        logits = policy.model(sequence).logits[0, len(CONTEXTS[2]) - 1 : -1]
    expected = (logits / temperature).log_softmax(-1)[range(len(ids)), ids]
    assert log_probs == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_sampled_frequencies_match_the_softmax(make_policy, temperature):
    policy = make_policy(temperature=temperature)
    draws, at_once, context = 16_000, 2000, CONTEXTS[1]
    counts = Counter()
    for first in range(0, draws, at_once):
        keys = [derive_key("frequency", number) for number in range(first, first + at_once)]
        counts.update(ids[0] for ids, _ in sample(policy, [(context, key, 1) for key in keys]))
    with torch.no_grad():
        logits = policy.model(torch.tensor([context])).logits[0, -1]
    expected = draws * (logits.double() / temperature).softmax(-1)
    frequent = (expected >= 5.0).nonzero()[:, 0].tolist()
    cells = [(counts[token], expected[token].item()) for token in frequent]
    rest = draws - sum(e for _, e in cells)
    cells.append((draws - sum(c for c, _ in cells), rest))
    assert len(cells) > 20
    assert rest > 5.0
    chi_square = sum((count - mean) ** 2 / mean for count, mean in cells)
    freedom = len(cells) - 1
    assert abs(chi_square - freedom) < 4 * (2 * freedom) ** 0.5


def test_session_ends_at_stop_text_end_of_text_or_max_tokens(make_policy):
    policy = make_policy()
    end = policy.tokenizer.eos_token_id
    stops = policy.tokenizer.convert_tokens_to_ids(list(STOP))
    endings = Counter()
    for ids, log_probs in sample(policy, [(CONTEXTS[1], key, 7) for key in range(100)]):
        assert len(ids) == len(log_probs)
        assert not {end, *stops} & set(ids[:-1])
        if ids[-1] in (end, *stops):
            endings[ids[-1]] += 1
        else:
            assert len(ids) == 7
            endings["length"] += 1
    assert all(endings[kind] for kind in (end, *stops, "length")), endings


def test_session_of_one_token_at_most_samples_one(make_policy):
    [(ids, log_probs)] = sample(make_policy(), [(CONTEXTS[0], 0, 1)])
    assert len(ids) == len(log_probs) == 1


def test_session_stops_at_the_token_that_completes_a_text_of_several_tokens(make_policy):
    policy = make_policy(habits={})
    [(free, _)] = sample(policy, [(CONTEXTS[3], 5, 20)], stop=())
    text = policy.tokenizer.decode(free[6:8])
    assert text not in policy.tokenizer.decode(free[:7])
    [(stopped, _)] = sample(policy, [(CONTEXTS[3], 5, 20)], stop=("no such text", text))
    assert stopped == free[:8]


def test_session_that_is_complete_returns_while_others_still_sample(make_policy):
    policy = make_policy(habits={})

    async def short_and_long():
        sampling = Sampler(policy, 2, 64)
        long, short = (
            asyncio.create_task(sampling.session(0)(CONTEXTS[1], (), most)) for most in (30, 2)
        )
        await asyncio.wait({long, short}, return_when=asyncio.FIRST_COMPLETED)
        assert short.done() and not long.done()
        return await long

    ids, _ = asyncio.run(asyncio.wait_for(short_and_long(), PATIENCE_OF_THE_TEST))
    assert len(ids) == 30


class SlowEngine(SearchEngine):
    """Answers questions that begin with "slow" only after `released`."""

    def __init__(self) -> None:
        self.asked, self.released = asyncio.Event(), asyncio.Event()
        self.num_answered = 0

    async def asearch(self, request):
        if request.question.startswith("slow"):
            self.asked.set()
            await self.released.wait()
        self.num_answered += 1
        return SearchResult((Document("born in the founder"),))


def test_episode_that_waits_for_its_documents_holds_up_no_other(make_policy):
    policy = make_policy({"<search>": 7.0, "</search>": 7.0})  # nearly every turn searches
    encoder = TextEncoder(policy.tokenizer)

    async def play_all():
        engine, sampling = SlowEngine(), Sampler(policy, 3, RULES.max_context)
        rows = asyncio.Semaphore(2)

        async def play_one(text, key):
            episode = Episode(Question(text, text, ("x",)), RULES, measure=encoder)
            session = sampling.session(key)
            try:
                return await rollout(episode, engine, session, encoder)
            finally:
                session.close()

        async def play_in_turn(text, key):
            async with rows:
                return await play_one(text, key)

        slow = asyncio.create_task(play_one("slow one", 0))
        await engine.asked.wait()
        quick = await asyncio.gather(*(play_in_turn(f"quick {n}", n) for n in range(6)))
        assert not slow.done()
        assert engine.num_answered == sum(len(t.searches) for t in quick) > 0
        engine.released.set()
        return [*quick, await slow]

    # The events of the engine belong to the loop of all engines.
    trajectories = run_to_end(asyncio.wait_for(play_all(), PATIENCE_OF_THE_TEST))
    assert len(trajectories[-1].searches) > 0
    for trajectory in trajectories:
        trajectory.verify()


def in_patience(function, *args):
    """What ``function`` returns or raises; if it hangs, it fails."""
    outcome = Future()

    def run():
        try:
            outcome.set_result(function(*args))
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    return outcome.result(PATIENCE_OF_THE_TEST)


def test_error_in_the_model_reaches_the_caller_and_later_episodes_are_sound(
    make_policy, monkeypatch
):
    policy = make_policy()
    player = Player(policy, EchoEngine(), RULES, num_rows=3)
    whole, calls = policy.at, []

    def breaks_down(*args, **kwargs):
        calls.append(args)
        if len(calls) == 12:
            raise RuntimeError("out of memory")
        return whole(*args, **kwargs)

    monkeypatch.setattr(policy, "at", breaks_down)
    with pytest.raises(RuntimeError, match="out of memory"):
        in_patience(player.play, assignments(8))
    monkeypatch.undo()
    assert_same(player.play(assignments(8)), play(policy, num_rows=8, count=8))


def test_error_in_the_model_ends_every_call_that_waits(make_policy, monkeypatch):
    policy = make_policy()

    def breaks_down(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(policy, "at", breaks_down)
    monkeypatch.setattr(sampler, "PREFILL_TOKENS", 1)  # one is being read, and two wait

    async def call_all():
        sampling = Sampler(policy, 3, 64)
        calls = (sampling.session(key)(CONTEXTS[1], STOP, 5) for key in range(3))
        everything = asyncio.gather(*calls, return_exceptions=True)
        return await asyncio.wait_for(everything, PATIENCE_OF_THE_TEST)

    assert [str(error) for error in asyncio.run(call_all())] == ["out of memory"] * 3


def test_sampler_counts_what_trajectories_hold(make_policy):
    player = Player(make_policy(), EchoEngine(), RULES, num_rows=4)
    trajectories = player.play(assignments(10))
    assert player.sampler.num_sampled == sum(t.response_length for t in trajectories)


def test_sampler_without_a_free_row_refuses_a_session(make_policy):
    sampling = Sampler(make_policy(), 1, 64)
    session = sampling.session(0)
    with pytest.raises(RuntimeError, match="close a session first"):
        sampling.session(1)
    session.close()
    sampling.session(1)
