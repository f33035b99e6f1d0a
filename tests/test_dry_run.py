"""The dry run: sizes against values by hand, what it finds, and its tiny update."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import transformers

from agents.training.config import Config
from agents.training.config_file import read_config
from agents.training.dry_run import dry_run, play_tiny_update
from agents.training.memory_plan import CONTEXT, LOGIT_BYTES, VLLM_WORK, plan_cache, plan_memory
from agents.training.model_sizes import measure_model, read_architecture
from agents.training.program import run_algorithm
from tests.algorithms import ALGORITHMS
from tests.test_config_file import CONFIGS

BASE = next(path for path in CONFIGS if "base" in path.stem)
SMALL = transformers.LlamaConfig(
    vocab_size=100, hidden_size=8, intermediate_size=20, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, head_dim=2, tie_word_embeddings=False,
)  # fmt: skip
# Two embeddings of 100 x 8; in each layer queries and outputs 8 x 8, keys and values 8 x 4, three
# matrices of 8 x 20 and two norms of 8; a norm at the end.
SMALL_PARAMETERS = 2 * 800 + 3 * (2 * 64 + 2 * 32 + 3 * 160 + 2 * 8) + 8


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"question": "Who?", "answers": ["me"]}))
    return str(path)


def fake_train(config):
    raise AssertionError("there was nothing to train")


def test_sizes_of_a_small_model_are_those_by_hand():
    sizes = measure_model(SMALL)
    assert sizes.parameters == sizes.trained == SMALL_PARAMETERS
    assert (sizes.queries, sizes.keys, sizes.hidden, sizes.inner) == (8, 4, 8, 20)
    assert sizes.cached_values == 2 * 3 * 4


def test_a_tied_head_counts_once():
    tied = transformers.LlamaConfig(**{**SMALL.to_dict(), "tie_word_embeddings": True})
    assert measure_model(tied).parameters == SMALL_PARAMETERS - 800


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapters_alone_are_trained():
    pytest.importorskip("peft")
    sizes = measure_model(SMALL, lora_rank=2)
    # A matrix (inputs x 2) and one (2 x outputs) beside each of the seven of a layer.
    layer = 2 * (8 + 8) + 2 * (8 + 4) + 3 * (8 + 20)
    assert (sizes.parameters, sizes.trained) == (SMALL_PARAMETERS, 3 * 2 * layer)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen2.5-0.5B", 494_032_768),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304),
        ("Qwen/Qwen2.5-3B", 3_085_938_688),
        ("Qwen/Qwen2.5-3B-Instruct", 3_085_938_688),
        ("Qwen/Qwen2.5-7B", 7_615_616_512),
    ],
)
def test_published_models_are_known_without_a_network(name, parameters):
    assert measure_model(read_architecture(name)).parameters == parameters


def test_memory_of_a_small_model_is_that_by_hand():
    config = Config(
        max_context=50, max_turns=2, max_turn_tokens=10, micro_batch_tokens=40, kl_coef=0.001,
        gradient_checkpointing=True, concurrent_episodes=7,
    )  # fmt: skip
    sizes = measure_model(SMALL)
    card = 1000.0
    items = {item.name.split(",")[0]: item[1:] for item in plan_memory(config, sizes, card)}
    each = 4.0 * SMALL_PARAMETERS
    assert items["weights"] == items["reference policy"] == items["gradients"] == (each, each)
    assert items["optimizer"] == (2 * each, 2 * each)
    assert items["weights in bfloat16"] == (each / 2, each / 2)
    # 50 tokens, the longest episode: three inputs of layers and one layer computed again.
    layer = 20 * 8 + 4 * (8 + 8) + 2 * 8 + 8 * 20 + 4 * 8
    assert items["activations of a micro-batch"] == (0, 50 * (3 * 4 * 8 + layer))
    assert items["logits of its scored tokens"] == (0, 40 * 100 * LOGIT_BYTES)
    assert items["key-value cache"] == (7 * 50 * 24 * 2, 0)
    assert items["CUDA contexts (assumed)"] == (CONTEXT, CONTEXT)
    assert "vLLM" not in items


def test_vllm_takes_its_share_and_holds_so_many_tokens():
    config = Config(sampler="vllm", sampler_memory=0.25, max_context=4096)
    sizes = measure_model(SMALL)
    card = 80.0 * 2**30
    items = {item.name.split(",")[0]: item[1:] for item in plan_memory(config, sizes, card)}
    assert items["vLLM"] == (card / 4, 0)
    cache = plan_cache(config, sizes, card)
    assert cache.bytes_per_token == 48
    assert cache.tokens == int((card / 4 - 2 * SMALL_PARAMETERS - VLLM_WORK) / 48)
    on_servers = replace(config, sampler_url=("http://127.0.0.1:8000",))
    assert plan_cache(on_servers, sizes, card).tokens is None
    assert all("vLLM" not in item.name for item in plan_memory(on_servers, sizes, card))


def test_the_configuration_of_the_paper_passes(questions, capsys):
    train, kind = ALGORITHMS["grpo"]
    config = replace(read_config(BASE, kind), questions=questions, test_questions=questions)
    assert dry_run(train, config, 79.0)
    shown = capsys.readouterr().out
    assert "3,085,938,688 (3.09 billion)" in shown and "64,960" in shown
    assert shown.endswith("Nothing was found that would stop the run.\n")
    assert not config.folder.exists()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_tiny_update_learns(algorithm):
    train, kind = ALGORITHMS[algorithm]
    config = read_config(BASE, kind)
    metrics = play_tiny_update(train, config, read_architecture(config.model))
    assert metrics["episodes"] == 8 * 5 and metrics["gradient_norm"] > 0
    assert 0 < metrics["answered"] and metrics["searches"] > 0


def test_all_reasons_are_said_at_once(tmp_path, capsys):
    config = Config(
        folder=tmp_path / "run", model="nobody/nothing", questions=str(tmp_path / "none.jsonl"),
        engine="bm25,corpus=none.jsonl", test_engines=(),
    )  # fmt: skip
    assert not dry_run(fake_train, config, 79.0)
    shown = capsys.readouterr().out
    reasons = [line for line in shown.splitlines() if line.startswith("would stop the run: ")]
    assert len(reasons) == 3
    assert "none.jsonl: there is no such file" in reasons[0]
    assert "bm25" in reasons[1] and "none.jsonl" in reasons[1]
    assert "`model` 'nobody/nothing' is not on this machine" in reasons[2]
    assert not (tmp_path / "run").exists()


def test_a_card_that_is_too_small_ends_with_status_1(questions, monkeypatch, capsys):
    words = ["--config", str(BASE), "--questions", questions, "--test-questions", questions]
    monkeypatch.setattr(sys, "argv", ["program", *words, "--dry-run", "--card-gib", "24"])
    with pytest.raises(SystemExit) as end:
        run_algorithm(*ALGORITHMS["grpo"])
    assert end.value.code == 1
    shown = capsys.readouterr().out
    assert "sampling needs" in shown and "and the GPU has 24.0 GiB" in shown
    assert "learning needs" in shown and "does not hold one episode" in shown


def test_servers_are_asked_only_on_demand(questions, capsys):
    engine = "simulated,base_url=http://127.0.0.1:9/v1,model=m,max_attempts=1"
    config = Config(questions=questions, test_questions=questions, engine=engine, test_engines=())
    train, kind = ALGORITHMS["reinforce"]
    config = kind(**vars(config))
    assert dry_run(train, config, 79.0)
    assert not dry_run(train, config, 79.0, check_servers=True)
    assert f"would stop the run: engine {engine}: " in capsys.readouterr().out


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="without torchrun"):
        dry_run(fake_train, Config(folder=Path("runs/x")), 79.0)
