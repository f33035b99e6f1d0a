"""vLLM on the CPU as the sampler of a policy in training, behind servers.

`make test-vllm` runs this in an environment that has vLLM.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

pytest.importorskip("torch")

from transformers import LlamaConfig, LlamaForCausalLM

from agents.grpo import GRPOConfig, train
from agents.sampling.errors import SamplerError
from agents.sampling.vllm import weights
from agents.sampling.vllm.servers import VLLMServers
from agents.tiny import MODEL
from agents.training.metrics import read_metrics
from agents.training.run import Run
from tests.vllm_server import VLLMServer

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

SMALL = {
    "updates": 2,
    "questions_per_update": 8,
    "num_test_questions": 20,
    "test_engines": ("world",),
    "concurrent_episodes": 16,
    "save_every": 1,
    "sampler": "vllm",
    "sampler_timeout_s": 3600.0,
}

OPTIONS = ("--no-enable-chunked-prefill", "--max-model-len", "700", "--max-num-seqs", "64")

AGREEMENT = 1e-3


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that takes new weights."""
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with VLLMServer(MODEL, log, OPTIONS, {"VLLM_SERVER_DEV_MODE": "1"}) as server:
        yield server


@pytest.fixture(scope="module")
def adapter_server(tmp_path_factory):
    """A server that takes new adapters only."""
    log = tmp_path_factory.mktemp("adapter_server") / "log.txt"
    options = [*OPTIONS, "--enable-lora", "--max-lora-rank", "8"]
    with VLLMServer(MODEL, log, options, {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}) as server:
        yield server


def config_of(folder, server, **options):
    return GRPOConfig(folder=folder, sampler_url=(server.url,), **{**SMALL, **options})


def check_metrics(folder, updates):
    """That each update was played with the weights of the learner."""
    metrics = read_metrics(folder)
    assert [m["update"] for m in metrics] == list(range(updates + 1))
    # The first update is played with what was sent for the first evaluation.
    for now in [metrics[0], *metrics[2:]]:
        assert 0.0 <= now["transfer_gap"] <= AGREEMENT
        assert now["time/transfer"] > 0.0
    for now in metrics[1:]:
        assert now["sampler_gap"] <= AGREEMENT
        assert now["episodes"] == 40.0
    return metrics


def test_server_gets_the_weights_of_each_update_and_plays_as_the_own_sampler(server, tmp_path):
    train(config_of(tmp_path / "vllm", server))
    metrics = check_metrics(tmp_path / "vllm", 2)
    train(GRPOConfig(folder=tmp_path / "own", **{**SMALL, "sampler": "transformers"}))
    own = read_metrics(tmp_path / "own")
    # Before training, greedy turns are the same; draws differ, so that later figures do.
    for name in ("f1", "turns", "searches", "response_length"):
        assert metrics[0][f"test/world/{name}"] == own[0][f"test/world/{name}"]
    # Weights that were handed over do not stay behind.
    assert list((tmp_path / "vllm" / "weights").iterdir()) == []


def test_every_turn_of_an_episode_goes_to_the_same_server(server, tmp_path, monkeypatch):
    """Two names of one server stand for two servers."""
    other = server.url.replace("127.0.0.1", "localhost")
    asked = {}
    send = VLLMServers.send

    def note(self, requests):
        for request in requests:
            number = request.episode % len(self._servers)
            asked.setdefault(request.episode, set()).add(self._servers[number].name)
        send(self, requests)

    monkeypatch.setattr(VLLMServers, "send", note)
    config = config_of(tmp_path / "run", server, updates=1, test_engines=())
    train(replace(config, sampler_url=(server.url, other + "/v1/")))
    check_metrics(tmp_path / "run", 1)
    assert {len(names) for names in asked.values()} == {1}
    assert len(set().union(*asked.values())) == 2


def test_stale_weights_end_the_run_with_both_numbers(server, tmp_path, monkeypatch):
    load, count = VLLMServers.load, []

    def load_once(self, written):
        count.append(written)
        if len(count) == 1:
            load(self, written)

    monkeypatch.setattr(VLLMServers, "load", load_once)
    with pytest.raises(SamplerError, match=r"is -\d+\.\d+ by the sampler and\s-\d+\.\d+ by the"):
        train(config_of(tmp_path / "run", server))
    assert len(count) == 2
    # A tolerance that is far too large still finds that nothing has changed.
    count.clear()
    with pytest.raises(SamplerError, match="has kept its old weights"):
        train(config_of(tmp_path / "other", server, sampler_tolerance=100.0))


def test_stale_head_is_found(server, tmp_path, monkeypatch):
    """The head of the bundled model is tied: without a copy of it in the files, vLLM keeps its."""
    monkeypatch.setattr(weights, "save_file", lambda *_: None)
    with pytest.raises(SamplerError, match="do not agree"):
        train(config_of(tmp_path / "run", server))
    assert read_metrics(tmp_path / "run")[-1]["update"] <= 1


def test_a_server_with_a_short_context_is_refused(server, tmp_path):
    with pytest.raises(SamplerError, match="context of 700 tokens, and `max_context` is 701"):
        train(config_of(tmp_path / "run", server, max_context=701))


def test_a_server_of_another_temperature_is_found(server, tmp_path):
    """Log-probabilities of vLLM are those before the temperature, unless it is told otherwise."""
    with pytest.raises(SamplerError, match="--logprobs-mode processed_logprobs"):
        train(config_of(tmp_path / "run", server, temperature=0.5))


def test_server_gets_the_adapters_of_each_update(adapter_server, tmp_path):
    train(config_of(tmp_path / "run", adapter_server, lora_rank=4, learning_rate=1e-2))
    check_metrics(tmp_path / "run", 2)


def test_a_server_that_takes_no_weights_is_refused(adapter_server, tmp_path):
    with pytest.raises(SamplerError, match=r"/pause with HTTP 404.*VLLM_SERVER_DEV_MODE=1"):
        train(config_of(tmp_path / "run", adapter_server))


def test_a_server_that_takes_no_adapters_is_refused(server, tmp_path):
    with pytest.raises(SamplerError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"):
        train(config_of(tmp_path / "run", server, lora_rank=4))


def test_a_server_of_another_model_is_refused(adapter_server, tmp_path):
    """One with another base has the adapters, and other log-probabilities."""
    other = tmp_path / "other"
    shutil.copytree(MODEL, other)
    LlamaForCausalLM(LlamaConfig.from_pretrained(MODEL)).save_pretrained(other)
    with pytest.raises(SamplerError, match="do not agree"):
        train(config_of(tmp_path / "run", adapter_server, lora_rank=4, model=str(other)))


def test_a_killed_server_ends_the_run_and_a_new_one_resumes_it(server, tmp_path):
    config = config_of(tmp_path / "run", server, updates=3)
    with pytest.raises(SamplerError, match=r"does not answer.*--resume"), Run(config) as run:
        for update in run.updates():
            if update == 1:
                server.kill()
            run.play(update)
    assert [m["update"] for m in read_metrics(config.folder)] == [0, 1]
    server.start()
    train(replace(config, resume=True))
    check_metrics(config.folder, 3)
