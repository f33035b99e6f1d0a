"""Samplers outside of the learner: when a run calls them, and what it does if they fail."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch
from aiohttp import web

from agents.sampling.errors import SamplerError
from agents.sampling.interface import OwnSamplers
from agents.sampling.policy import load_policy
from agents.sampling.vllm.agreement import NUM_PROMPT, Agreement
from agents.sampling.vllm.requests import Answer, checked_answer, turn_options
from agents.sampling.vllm.servers import VLLMServers
from agents.sampling.vllm.weights import WeightsFolder
from agents.training.config import Config
from agents.training.distributed import Processes
from agents.training.errors import TrainingError
from agents.training.memory import explain_memory
from agents.training.run import Run
from agents.training.samplers import make_samplers
from benchmarks.chat_server import running
from tests.algorithms import ALGORITHMS
from zs_env.tokens.token_episode import SampleRequest

SMALL = {
    "updates": 2,
    "questions_per_update": 4,
    "test_engines": ("world",),
    "num_test_questions": 4,
    "minibatches": 2,
    "max_turns": 2,
    "max_turn_tokens": 40,
    "max_context": 400,
}


class NotedSamplers(OwnSamplers):
    """The own sampler, which notes what it is called for."""

    gap = 0.25

    def __init__(self, policy):
        super().__init__(policy)
        self.calls = []

    def start(self):
        self.calls.append("start")

    def make(self, num_slots, *, greedy=False):
        self.calls.append("evaluate" if greedy else "make")
        return super().make(num_slots, greedy=greedy)

    def send_weights(self):
        self.calls.append("send")

    def check(self):
        self.calls.append("check")

    def sleep(self):
        self.calls.append("sleep")

    def wake(self):
        self.calls.append("wake")

    def close(self):
        self.calls.append("close")


@pytest.fixture
def noted(monkeypatch):
    made = []

    def make(config, policy, processes):
        made.append(NotedSamplers(policy))
        return made[-1]

    monkeypatch.setattr("agents.training.run.make_samplers", make)
    return made


def test_weights_are_sent_after_each_update_and_the_sampler_sleeps_while_it_learns(noted, tmp_path):
    train, config = ALGORITHMS["reinforce"]
    train(config(folder=tmp_path / "run", evaluate_every=2, **SMALL))
    played = ["wake", "check", "sleep"]
    assert noted[0].calls == [
        *("make", "start", "wake", "send", "evaluate"),
        *played,
        *("wake", "send", "check", "sleep"),
        *("wake", "send", "evaluate", "close"),
    ]


def test_gap_of_each_transfer_is_a_metric(noted, tmp_path):
    with Run(Config(folder=tmp_path / "run", **SMALL)) as run:
        for update in run.updates():
            run.play(update)
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["transfer_gap"] == 0.25 and first["time/transfer"] >= 0.0


@pytest.fixture(scope="module")
def policy():
    return load_policy("tiny")


def scores_of(policy, token_ids, temperature=1.0):
    """Log-probabilities of the tokens from the second on, by transformers alone."""
    with torch.no_grad():
        logits = policy.model(torch.tensor([token_ids])).logits[0, :-1]
    log_probs = (logits / temperature).log_softmax(-1)
    return [float(row[token]) for row, token in zip(log_probs, token_ids[1:], strict=True)]


def answer_of(policy, agreement, sampled=(5, 6, 7), temperature=1.0):
    """The answer of a sampler that agrees."""
    ids = [*agreement.token_ids, *sampled]
    given = len(agreement.token_ids) - 1
    drawn = scores_of(policy, ids, temperature)[given:]
    return Answer(sampled, drawn, scores_of(policy, ids)[:given])


def test_agreement_is_held_against_transformers(policy):
    agreement = Agreement(policy, "answer the question", 1e-3)
    assert len(agreement.token_ids) == NUM_PROMPT
    assert agreement.check("it", answer_of(policy, agreement)) < 1e-4


def test_a_disagreement_names_both_numbers(policy):
    agreement = Agreement(policy, "answer the question", 1e-3)
    answer = answer_of(policy, agreement)
    right = answer.prompt_log_probs[40]
    wrong = [*answer.prompt_log_probs]
    wrong[40] = right - 0.01
    with pytest.raises(SamplerError) as raised:
        agreement.check("it", answer._replace(prompt_log_probs=wrong))
    assert f"{right - 0.01:.6f} by the sampler and {right:.6f} by the learner" in str(raised.value)
    assert "token 41 " in str(raised.value)


def test_agreement_knows_the_temperature(policy):
    warm = load_policy("tiny", temperature=2.0)
    agreement = Agreement(warm, "answer the question", 1e-3)
    agreement.check("it", answer_of(warm, agreement, temperature=2.0))
    with pytest.raises(SamplerError, match="processed_logprobs"):
        agreement.check("it", answer_of(warm, agreement, temperature=1.0))


def test_a_sampler_that_has_not_moved_with_the_learner_is_found_within_any_tolerance():
    policy = load_policy("tiny")
    agreement = Agreement(policy, "answer the question", 100.0)
    stale = answer_of(policy, agreement)
    agreement.check("it", stale)
    agreement.check("it", stale)  # nobody has moved
    with torch.no_grad():
        next(policy.model.model.layers[0].parameters()).add_(0.01)
    agreement.check("another", stale)
    with pytest.raises(SamplerError, match="it has kept its old weights"):
        agreement.check("it", stale)
    agreement.check("it", answer_of(policy, agreement))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("adapters", [False, True])
def test_weights_are_written_whole_or_as_adapters(policy, adapters, tmp_path):
    from safetensors.torch import load_file

    from agents.sampling.policy import add_adapters

    written = load_policy("tiny")
    if adapters:
        written.model = add_adapters(written.model, 4)
    folder = WeightsFolder(tmp_path / "weights", torch.bfloat16)
    first, second = folder.write(written), folder.write(written)
    assert first.name != second.name and second.number == 2 and not first.folder.exists()
    assert second.is_adapter == adapters
    tensors = {}
    for file in second.folder.glob("*.safetensors"):
        tensors |= load_file(file)
    if adapters:
        assert tensors and all("lora" in name for name in tensors)
    else:
        # The head is tied, and written as well.
        state = policy.model.state_dict()
        assert tensors.keys() == state.keys() and "lm_head.weight" in tensors
        for name, value in tensors.items():
            assert torch.equal(value, state[name].to(torch.bfloat16))
    folder.remove()
    assert [*(tmp_path / "weights").iterdir()] == []


@pytest.mark.parametrize("clear", [False, True])
def test_what_a_killed_run_has_left_is_removed_from_its_own_folder_only(policy, clear, tmp_path):
    left = tmp_path / "weights" / "policy-0-1"
    left.mkdir(parents=True)
    folder = WeightsFolder(tmp_path / "weights", torch.float32, clear=clear)
    first = folder.write(policy)
    assert left.exists() != clear and first.folder.is_dir()


def test_options_of_a_turn_leave_the_distribution_as_it_is():
    request = SampleRequest([1, 2, 3], 10, ("</a>",), key=7)
    options = turn_options(request, 0.5, [9])
    assert options["temperature"] == 0.5 and options["max_tokens"] == 10
    assert options["stop"] == ["</a>"] and options["include_stop_str_in_output"]
    assert options["stop_token_ids"] == [9] and options["ignore_eos"]
    assert (options["top_p"], options["top_k"], options["repetition_penalty"]) == (1.0, 0, 1.0)
    # Draws differ from turn to turn and from key to key, and else are the same.
    seeds = [
        turn_options(changed, 0.5, [9])["seed"]
        for changed in (
            request,
            request._replace(place=3),
            request._replace(key=8),
            request._replace(token_ids=[1, 2, 3, 4]),
        )
    ]
    assert seeds[0] == seeds[1] and len(set(seeds)) == 3 and all(0 <= s < 2**63 for s in seeds)


@pytest.mark.parametrize(
    "answer",
    [
        Answer([], []),
        Answer([1, 2], [-1.0]),
        Answer([1], [float("nan")]),
        Answer([1] * 9, [0.0] * 9),
    ],
)
def test_answers_are_checked(answer):
    with pytest.raises(SamplerError, match="vLLM returned"):
        checked_answer(answer, 8, "vLLM")


def fake_vllm(completion, models=None):
    """A server of the two things that a start asks for."""
    app = web.Application()
    listed = {"data": [{"id": "m", "max_model_len": 4096}]} if models is None else models

    async def give_models(_):
        return web.json_response(listed)

    async def give_completion(_):
        return web.json_response(completion)

    app.router.add_get("/v1/models", give_models)
    app.router.add_post("/v1/completions", give_completion)
    return app


def vllm_at(url):
    return VLLMServers([url], 4, 400, 2.0)


@pytest.mark.parametrize("models", [{}, [], {"data": []}, {"data": [{"name": "m"}]}])
def test_a_server_that_is_not_vllm_is_refused(models):
    with running(fake_vllm({}, models)) as url:
        with pytest.raises(SamplerError, match="does not list its model"):
            vllm_at(url).start()


def test_a_vllm_without_token_ids_is_an_error():
    completion = {"choices": [{"text": "a", "logprobs": {"token_logprobs": [-1.0]}}]}
    with running(fake_vllm(completion)) as url:
        servers = vllm_at(url)
        servers.start()
        with pytest.raises(SamplerError, match="not a completion with token ids"):
            servers.probe([1], {})
        servers.close()


def test_a_vllm_without_the_endpoints_is_an_error(policy, tmp_path):
    with running(fake_vllm({})) as url:
        servers = vllm_at(url)
        servers.start()
        weights = WeightsFolder(tmp_path, torch.float32).write(policy)
        with pytest.raises(SamplerError, match="/pause with HTTP 404.*VLLM_SERVER_DEV_MODE=1"):
            servers.load(weights)
        with pytest.raises(SamplerError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"):
            servers.load(weights._replace(is_adapter=True))


def test_no_server_is_an_error():
    with pytest.raises(SamplerError, match="does not answer /v1/models"):
        vllm_at("http://127.0.0.1:9").start()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler_url": ("http://a",)}, "`sampler_url` needs `sampler` 'vllm'"),
        ({"sampler": "sglang"}, "`sampler` must be"),
        ({"sampler_memory": 1.0}, "`sampler_memory` must be in"),
        ({"sampler_tolerance": -1.0}, "`sampler_tolerance` must not be negative"),
        ({"sampler_timeout_s": 0.0}, "`sampler_timeout_s` must be greater than 0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)


def test_vllm_in_the_process_needs_one_process(policy):
    processes = Processes("cpu")
    processes.size = 2
    with pytest.raises(ValueError, match="give servers by `sampler_url`"):
        make_samplers(Config(sampler="vllm"), policy, processes)
    config = Config(sampler="vllm", sampler_url=("http://a",), lora_rank=2)
    with pytest.raises(ValueError, match="with `lora_rank` works with one process"):
        make_samplers(config, policy, processes)


def test_memory_that_runs_out_says_what_to_lower():
    with pytest.raises(TrainingError, match=r"`micro_batch_tokens`.*verl"), explain_memory():
        torch.empty(2**52)
    with pytest.raises(TrainingError, match="memory has run out"), explain_memory():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    with pytest.raises(RuntimeError, match="another"), explain_memory():
        raise RuntimeError("another")


def test_a_sampler_that_fails_in_a_run_leaves_its_checkpoints(noted, tmp_path):
    config = Config(folder=tmp_path / "run", save_every=1, **SMALL)
    with pytest.raises(SamplerError, match="gone"), Run(config) as run:
        for update in run.updates():
            if update == 1:
                noted[0].check = fail
            run.play(update)
    assert noted[0].calls[-1] == "close"
    assert (config.folder / "report.md").is_file()
    with Run(replace(config, resume=True)) as run:
        assert run.updates_done == 1


def fail():
    raise SamplerError("gone")
