"""Options of a run from a file, and below those of the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from agents.grpo import GRPOConfig
from agents.ppo import PPOConfig
from agents.reinforce import ReinforceConfig
from agents.tiny import find_model
from agents.training.config_file import find_config, read_config
from agents.training.program import parse_start
from zs_env.engines import load_engine

CONFIGS = sorted((Path(__file__).parent.parent / "agents" / "configs").glob("qwen*.json"))


def written(tmp_path, **options):
    path = tmp_path / "options.json"
    path.write_text(json.dumps(options))
    return path


def test_values_of_a_file_have_the_types_of_the_options(tmp_path):
    path = written(
        tmp_path, folder="somewhere", test_engines=["world"], kl_coef=0, resume=True, seed=3,
        chat_template_kwargs={"enable_thinking": False}, sampler_folder=None,
    )  # fmt: skip
    config = read_config(path, GRPOConfig)
    assert config == GRPOConfig(
        folder=Path("somewhere"), test_engines=("world",), kl_coef=0.0, resume=True, seed=3,
        chat_template_kwargs={"enable_thinking": False},
    )  # fmt: skip


def test_the_command_line_comes_before_the_file(tmp_path):
    path = written(tmp_path, seed=3, top_k=4, folder="a", clip_coef=0.3)
    start, config = parse_start(PPOConfig, ["--seed", "5", "--config", str(path), "--dry-run"])
    assert (config.seed, config.top_k, config.folder) == (5, 4, Path("a"))
    assert (config.clip_coef, config.gae_lambda) == (0.3, PPOConfig().gae_lambda)
    assert start.dry_run and start.config == path


def test_a_name_means_a_file_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in CONFIGS:
        _, config = parse_start(GRPOConfig, ["--config", path.stem, "--seed", "7"])
        assert config == replace(read_config(path, GRPOConfig), seed=7)


def test_a_path_means_a_file_even_if_it_looks_like_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, seed=5).rename(tmp_path / "qwen2.5-3b-base")
    assert parse_start(GRPOConfig, ["--config", "./qwen2.5-3b-base"])[1].seed == 5
    assert parse_start(GRPOConfig, ["--config", "qwen2.5-3b-base"])[1].seed == 0
    written(tmp_path, seed=6)
    assert parse_start(GRPOConfig, ["--config", "options.json"])[1].seed == 6


@pytest.mark.parametrize("name", ["qwen2.5-3b-bass", "architectures", ""])
def test_an_unknown_name_is_an_error_that_lists_those_there_are(name):
    message = r"a name in agents/configs \(instrument, qwen2.5-3b-base, qwen2.5-3b-instruct"
    with pytest.raises(ValueError, match=message) as found:
        parse_start(GRPOConfig, ["--config", name])
    assert ("did you mean 'qwen2.5-3b-base'?" in str(found.value)) == name.startswith("qwen")


def test_the_instrument_trains_a_bundled_policy_under_noise_that_can_be_overcome():
    config = read_config(find_config("instrument"), PPOConfig)
    assert find_model(config.model).is_dir()
    engine = load_engine(config.engine, config.world_seed, config.world_size)
    assert engine.identity()["noise"]["hedged"] > 0
    assert "sampled" in config.test_decoding and config.max_turns == 8


def test_without_a_file_options_have_their_defaults():
    start, config = parse_start(GRPOConfig, [])
    assert config == GRPOConfig() and not start.dry_run


def test_the_config_of_a_run_is_such_a_file(tmp_path):
    config = GRPOConfig(folder=tmp_path / "run", sampler_folder=tmp_path, learning_rate=3e-5)
    path = tmp_path / "config.json"
    options = config.to_json() | {"policy_prompt": {"template": "{question}", "chat": False}}
    path.write_text(json.dumps(options))
    assert read_config(path, GRPOConfig) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"lerning_rate": 1}', r"PPOConfig has no such option \(did you mean 'learning_rate'\?\)"),
        ('{"divide_by_std": true}', "has 'divide_by_std', and PPOConfig has no such option"),
        ('{"seed": "three"}', "`seed` must be an integer, got 'three'"),
        ('{"seed": 1.5}', "`seed` must be an integer, got 1.5"),
        ('{"top_k": true}', "`top_k` must be an integer, got True"),
        ('{"kl_coef": "1e-3"}', "`kl_coef` must be a number"),
        ('{"folder": null}', "`folder` must be a text, got None"),
        ('{"test_engines": "world"}', "`test_engines` must be a list"),
        ('{"kl_coef": -1}', "options.json: `kl_coef` must not be negative"),
        ('{"sampler": "sglang"}', "`sampler` must be one of transformers, vllm"),
        ("[1]", "must hold a JSON object"),
        ("{", "cannot be read"),
    ],
)
def test_a_wrong_file_is_an_error_that_says_what(tmp_path, text, message):
    path = tmp_path / "options.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(path, PPOConfig)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="`config` .* cannot be read: .*No such file"):
        parse_start(PPOConfig, ["--config", str(tmp_path / "none.json")])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("kind", [PPOConfig, GRPOConfig, ReinforceConfig])
def test_committed_configurations_have_the_settings_of_the_paper(path, kind):
    config = read_config(path, kind)
    assert (config.questions_per_update, config.group_size) == (64, 5)
    assert (config.learning_rate, config.critic_learning_rate) == (1e-6, 1e-5)
    assert (config.learning_rate_decay, config.kl_coef, config.temperature) == (0.0, 0.001, 1.0)
    assert (config.top_k, config.document_words, config.reward) == (5, 30, "f1")
    curriculum = (config.noise, config.noise_start, config.noise_end, config.noise_base)
    assert curriculum == ("exponential", 0.0, 0.5, 4.0)
    assert config.sampler == "vllm" and config.engine.startswith("simulated,")
    assert config.mask_documents and config.updates * 320 >= 64_000
    assert config.chat_template == ("on" if "instruct" in path.stem else "off")
    assert config.model == "Qwen/Qwen2.5-3B" + "-Instruct" * ("instruct" in path.stem)
