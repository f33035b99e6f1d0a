"""Sampling of many episodes at once: what is drawn, with which probability, and when it ends."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest

pytest.importorskip("torch")

import torch

from agents.sampling.player import Player
from agents.sampling.policy import Policy, load_policy
from agents.sampling.sampler import Sampler
from agents.tiny.tokenizer import make_tokenizer
from agents.training.collect import Collector
from agents.training.config import Config
from agents.training.distributed import Processes
from agents.training.learner import Learner
from tests.helpers import EchoEngine, bpe_tokenizer, tiny_model
from zs_env import Document, Episode, Question, Rules, SearchEngine, SearchResult
from zs_env.actions import STOP, ends_turn
from zs_env.episode import Assignment, Role
from zs_env.errors import RolloutError
from zs_env.keyed_random import derive_key
from zs_env.llm.sampling import generator
from zs_env.tokens.play import play as play_all
from zs_env.tokens.token_episode import SampleRequest

# Logits to add, so that a random model searches, answers and ends its turns now and then.
HABITS = {"<search>": 5.5, "</search>": 5.5, "<answer>": 3.5, "</answer>": 4.5, "[end]": 3.5}
RULES = Rules(max_turns=3, top_k=1, prompt_template="{question}", max_context=160, turn_reserve=24)
CONTEXTS = [list(range(5, 5 + length)) for length in (1, 3, 8, 20)]


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


def play(policy, num_slots, count=16):
    return Player(policy, EchoEngine(), RULES, num_slots).play(assignments(count))


def request(context, key, max_tokens, place=0):
    return SampleRequest(context, max_tokens, key=key, episode=place, place=place)


def complete(sampling, requests):
    """What the sampler gives for each request, called until all are complete."""
    found = [None] * len(requests)
    while waiting := [place for place, one in enumerate(found) if one is None]:
        for place, one in zip(waiting, sampling([requests[p] for p in waiting]), strict=True):
            found[place] = one
    return found


def sample(policy, requests, *, num_slots=None, greedy=False):
    """What turns draw that begin together: (context, key, most tokens) -> ids, log-probs."""
    sampling = Sampler(policy, num_slots or len(requests), greedy=greedy)
    return complete(sampling, [request(*r, place) for place, r in enumerate(requests)])


def scripted(ids):
    """A draw of one token at a time, which are ``ids``."""
    script = iter(ids)
    return lambda *_: (torch.tensor([next(script)]), torch.zeros(1))


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
    trajectories = play(policy, num_slots=5)
    assert {s.role for t in trajectories for s in t.segments} == set(Role)
    for trajectory in trajectories:
        ids = torch.from_numpy(trajectory.token_ids).long()[None]
        with torch.no_grad():
            output = policy(ids, torch.from_numpy(trajectory.response_mask)[None])
        trajectory.verify(output.log_probs[0].numpy(), 1e-4)
        assert len(trajectory) <= RULES.max_context


@pytest.mark.parametrize("num_slots", [1, 3])
def test_trajectories_do_not_depend_on_the_number_of_slots(make_policy, num_slots):
    policy = make_policy()
    assert_same(play(policy, num_slots), play(policy, num_slots=16))


@pytest.mark.parametrize(("prefill_tokens", "patience"), [(1, 1), (40, 1000), (10**6, 0)])
def test_trajectories_do_not_depend_on_how_context_is_read(
    make_policy, monkeypatch, prefill_tokens, patience
):
    policy = make_policy()
    expected = play(policy, num_slots=7)
    monkeypatch.setattr(generator, "READ_TOKENS", prefill_tokens)
    monkeypatch.setattr(generator, "PATIENCE", patience)
    assert_same(play(policy, num_slots=7), expected)


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
    found = sample(policy, [(ids, 0, 20) for ids in CONTEXTS], greedy=True)
    expected = [generated(policy, ids, 20) for ids in CONTEXTS]
    assert [ids for ids, _ in found] == expected
    assert len({tuple(ids) for ids in expected}) == len(CONTEXTS)
    assert max(len(set(ids)) for ids in expected) > 5  # it says more than one thing


def test_greedy_session_second_turn_equals_generate_on_the_whole_context(make_policy):
    policy = make_policy(habits={})
    sampling = Sampler(policy, 2, greedy=True)
    complete(sampling, [request(CONTEXTS[2], 0, 9, place=1)])
    [(first, _)] = complete(sampling, [request(CONTEXTS[1], 0, 6)])
    context = [*CONTEXTS[1], *first, 40, 41, 42]
    [(second, _)] = complete(sampling, [request(context, 0, 12)])
    # Nothing in common with before.
    [(elsewhere, _)] = complete(sampling, [request(CONTEXTS[3], 0, 12)])
    assert second == generated(policy, context, 12)
    assert elsewhere == generated(policy, CONTEXTS[3], 12)


def test_second_turn_reads_only_what_is_new(make_policy, monkeypatch):
    policy, read = make_policy(habits={}), []
    whole = policy.causal_model.at

    def noting(token_ids, chosen, **kwargs):
        read.append(token_ids.tolist())
        return whole(token_ids, chosen, **kwargs)

    monkeypatch.setattr(policy.causal_model, "at", noting)
    sampling = Sampler(policy, 1)
    [(first, _)] = complete(sampling, [request(CONTEXTS[3], 0, 2)])
    new = [first[1], 40, 41]  # the token that was sampled last has not been read
    complete(sampling, [request([*CONTEXTS[3], *first, 40, 41], 0, 1)])
    assert read == [[CONTEXTS[3]], [first[:1]], [new]]


def test_another_episode_at_a_place_begins_anew(make_policy):
    """Its draws follow from its own key, and nothing that was cached for the last is used."""
    policy = make_policy(habits={})
    fresh = sample(policy, [(CONTEXTS[3], 7, 10)])
    sampling = Sampler(policy, 1)
    sampling([request(CONTEXTS[3], 1, 10)])
    other = request(CONTEXTS[3], 7, 10)._replace(episode=1)
    assert complete(sampling, [other])[0][0] == fresh[0][0]


def test_player_forgets_what_it_cached_when_weights_may_change(make_policy):
    policy = make_policy(habits={})
    player = Player(policy, EchoEngine(), RULES, num_slots=4)
    player.play(assignments(8))
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.mul_(1.1)
    assert_same(player.play(assignments(8)), play(policy, num_slots=4, count=8))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampled_log_probs_honour_the_temperature(make_policy, temperature):
    policy = make_policy(temperature=temperature)
    [(ids, log_probs)] = sample(policy, [(CONTEXTS[2], 3, 10)])
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
    for ids, log_probs in sample(policy, [(CONTEXTS[1], key, 7) for key in range(200)]):
        assert len(ids) == len(log_probs)
        assert end not in ids[:-1]
        texts = [policy.tokenizer.decode(ids[:count]) for count in range(1, len(ids) + 1)]
        assert not any(map(ends_turn, texts[:-1])), "a stray tag is no end, and an action is one"
        if ids[-1] == end or ends_turn(texts[-1]):
            endings[ids[-1]] += 1
        else:
            assert len(ids) == 7
            endings["length"] += 1
    assert all(endings[kind] for kind in (end, *stops, "length")), endings


def test_session_of_one_token_at_most_samples_one(make_policy):
    [(ids, log_probs)] = sample(make_policy(), [(CONTEXTS[0], 0, 1)])
    assert len(ids) == len(log_probs) == 1


def test_session_goes_on_where_a_tag_stands_in_an_open_thought(make_policy, monkeypatch):
    """Such a turn is not over: `rollout` and the token environments go on as well."""
    policy = make_policy(habits={})
    ids = policy.tokenizer.convert_tokens_to_ids(
        ["<think>", "<search>", "who", "</search>", "</think>", "<answer>", "who", "</answer>"]
    )
    monkeypatch.setattr(generator, "draw", scripted([*ids, 0]))
    sampling = Sampler(policy, 1)
    assert complete(sampling, [request(CONTEXTS[1], 0, 30)]) == [(ids, [0.0] * 8)]


def test_session_ends_at_a_tag_of_several_tokens(tmp_path, monkeypatch):
    """The token that completes it may reach past it."""
    tokenizer = bpe_tokenizer()
    policy = load_policy(tiny_model(tmp_path, tokenizer, pad_token_id=0)).eval()
    text = "<search>Ada</search>"
    ids = tokenizer.encode(text + "<answer>", add_special_tokens=False)
    over = [n for n in range(len(ids)) if text in tokenizer.decode(ids[:n])]
    assert tokenizer.decode(ids[over[0] - 1]) == "><", "the tokenizer must merge across the end"
    monkeypatch.setattr(generator, "draw", scripted(ids))
    sampling = Sampler(policy, 1)
    [(found, _)] = complete(sampling, [request([5, 6], 0, 40)])
    assert found == ids[: over[0]]


def test_session_that_is_complete_returns_while_others_still_sample(make_policy):
    policy = make_policy(habits={})
    sampling = Sampler(policy, 2)
    long, short = request(CONTEXTS[1], 0, 30), request(CONTEXTS[1], 0, 2, place=1)
    nothing, (ids, _) = sampling([long, short])
    assert nothing is None and len(ids) == 2
    [(ids, _)] = complete(sampling, [long])
    assert len(ids) == 30


class SlowEngine(SearchEngine):
    """Answers the question "slow one" only after `released`, and then fails if it never was."""

    def __init__(self) -> None:
        self.asked, self.released = threading.Event(), threading.Event()
        self.num_answered = 0

    async def asearch(self, request):
        if request.question == "slow one":
            self.asked.set()
            for _ in range(60_000):
                if self.released.is_set():
                    break
                await asyncio.sleep(0.001)
            else:
                raise TimeoutError("the other episodes did not go on")
        self.num_answered += 1
        return SearchResult((Document("born in the founder"),))


def test_episode_that_waits_for_its_documents_holds_up_no_other(make_policy):
    policy = make_policy({"<search>": 7.0, "</search>": 7.0})  # nearly every turn searches
    engine, sampling = SlowEngine(), Sampler(policy, 3)
    texts = ["slow one", *(f"quick {n}" for n in range(6))]
    asked = []

    def sample(requests):
        if any(r.episode == len(texts) - 1 for r in requests):  # the last one has begun
            asked.append(engine.asked.is_set())
            engine.released.set()
        return sampling(requests)

    tasks = [Assignment(Question(t, t, ("x",)), n, n, 0.0) for n, t in enumerate(texts)]
    trajectories = play_all(tasks, engine, sample, sampling.encoder, RULES, max_episodes=3)
    assert asked[0] and len(trajectories[0].searches) > 0
    assert engine.num_answered == sum(len(t.searches) for t in trajectories) > 4
    for trajectory in trajectories:
        trajectory.verify()


def test_error_in_the_model_reaches_the_caller_and_later_episodes_are_sound(
    make_policy, monkeypatch
):
    policy = make_policy()
    player = Player(policy, EchoEngine(), RULES, num_slots=3)
    whole, calls = policy.causal_model.at, []

    def breaks_down(*args, **kwargs):
        calls.append(args)
        if len(calls) == 12:
            raise RuntimeError("out of memory")
        return whole(*args, **kwargs)

    monkeypatch.setattr(policy.causal_model, "at", breaks_down)
    with pytest.raises(RuntimeError, match="out of memory"):
        player.play(assignments(8))
    monkeypatch.undo()
    assert_same(player.play(assignments(8)), play(policy, num_slots=8, count=8))


def test_trainers_do_not_limit_the_characters_of_a_turn(folder):
    """A turn of 6,000 characters that ended in an answer was invalid in training alone."""
    config = Config(model=str(folder), max_context=2000, max_turn_tokens=1000)
    learner = Learner(load_policy(folder), config, Processes("cpu"))
    rules = Collector(learner, None).player.rules
    assert (rules.max_context, rules.turn_reserve) == (2000, 1000)
    episode = Episode(Question("q", "Who?", ("ada",)), rules, measure=len)
    episode.act(f"<think>{'x' * 6000}</think><answer>ada</answer>", 900)
    assert episode.reward == 1.0


def test_sampler_counts_what_trajectories_hold(make_policy):
    player = Player(make_policy(), EchoEngine(), RULES, num_slots=4)
    trajectories = player.play(assignments(10))
    assert player.sampler.num_sampled == sum(t.response_length for t in trajectories)


def test_sampler_without_a_slot_for_a_place_refuses_it(make_policy):
    sampling = Sampler(make_policy(), 1)
    with pytest.raises(RolloutError, match="1 slots, and an episode is at place 1: .*`max_epis"):
        sampling([request(CONTEXTS[0], 0, 1, place=1)])


def test_context_that_does_not_grow_is_refused(make_policy):
    sampling = Sampler(make_policy(habits={}), 1)
    [(ids, _)] = complete(sampling, [request(CONTEXTS[1], 0, 3)])
    with pytest.raises(RolloutError, match="must grow"):
        sampling([request([*CONTEXTS[1], *ids[:2]], 0, 3)])


def test_sampler_computes_as_the_code_around_it_says(make_policy):
    """Autocast belongs to a thread. Sampling once ran in another, in float32 and not bfloat16."""
    policy = make_policy(habits={})
    with torch.autocast("cpu", torch.bfloat16):
        trajectories = play(policy, num_slots=4, count=4)
        gaps = scored_gaps(policy, trajectories)
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        gaps_in_float32 = scored_gaps(policy, trajectories)
    assert max(gaps) < max(gaps_in_float32) / 2
    assert max(gaps_in_float32) > 1e-3


def scored_gaps(policy, trajectories):
    """How far the log-probabilities of sampling are from those of scoring, by episode."""
    gaps = []
    for trajectory in trajectories:
        ids = torch.from_numpy(trajectory.token_ids).long()[None]
        mask = torch.from_numpy(trajectory.response_mask)[None]
        with torch.no_grad():
            log_probs = policy(ids, mask).log_probs[0].numpy()
        gaps.append(abs(log_probs - trajectory.log_probs).max())
    return gaps
