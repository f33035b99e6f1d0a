"""Stable-Baselines3 on the token environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

from agents.sb3 import ProgressCallback, TokenPolicy, TokenVecEnv
from agents.sb3.__main__ import TASK, evaluate
from agents.sb3.cloning import clone, demonstrate, without_thought
from zs_env.token_vector_env import ZeroSearchTokenVectorEnv

TINY = {
    "world_size": "tiny",
    "context_length": 96,
    "max_turn_tokens": 12,
    "top_k": 2,
    "document_words": 10,
    "max_turns": 3,
}


ROOT = Path(__file__).parent.parent


def make_model(env, **options):
    return MaskablePPO(
        TokenPolicy,
        env,
        n_steps=32,
        batch_size=64,
        n_epochs=1,
        seed=0,
        device="cpu",
        policy_kwargs={"features_extractor_kwargs": {"width": 16}},
        **options,
    )


def masked_random(masks, draw):
    return (draw.random(masks.shape) * masks).argmax(axis=1)


@pytest.mark.parametrize("bootstraps", [False, True])
def test_vec_env_is_the_native_one_that_resets_in_the_same_step(bootstraps):
    env = TokenVecEnv(4, bootstraps=bootstraps, **TINY)
    envs = ZeroSearchTokenVectorEnv(4, autoreset_mode="SameStep", **TINY)
    env.seed(7)
    observations, (expected, infos) = env.reset(), envs.reset(seed=7)
    draw, ended = np.random.default_rng(0), 0
    for _ in range(300):
        assert all(np.array_equal(observations[key], expected[key]) for key in expected)
        masks = np.stack(env.env_method("action_masks"))
        assert np.array_equal(masks, infos["action_mask"])
        actions = masked_random(masks, draw)
        observations, rewards, over, listed = env.step(actions)
        expected, native_rewards, terminated, truncated, infos = envs.step(actions)
        assert rewards.tolist() == native_rewards.astype(np.float32).tolist()
        assert over.tolist() == (terminated | truncated).tolist()
        for i in np.flatnonzero(over):
            ended += 1
            final = infos["final_obs"][i]
            shown = listed[i]["terminal_observation"]
            assert all(np.array_equal(shown[key], final[key]) for key in final)
            assert listed[i]["truncated"] == bool(truncated[i])
            assert listed[i]["TimeLimit.truncated"] == (bool(truncated[i]) and bootstraps)
            assert listed[i]["episode"]["r"] == rewards[i]
            assert listed[i]["num_searches"] == infos["final_info"]["num_searches"][i]
        assert all(info == {} for info, is_over in zip(listed, over, strict=True) if not is_over)
    assert ended > 20


def test_vec_env_supports_masks_attributes_and_methods():
    env = TokenVecEnv(3, **TINY)
    env.reset()
    assert is_masking_supported(env)
    assert get_action_masks(env).shape == (3, env.action_space.n)
    assert env.env_method("action_masks", indices=[1])[0].shape == (env.action_space.n,)
    env.env_method("set_progress", 0.5)
    assert env.get_attr("progress")[0].tolist() == [0.5] * 3
    assert env.reset()["length"].shape == (3, 1)
    env.close()


def test_vec_env_shaping_adds_nothing_to_a_whole_episode():
    plain, shaped = TokenVecEnv(8, **TINY), TokenVecEnv(8, shaping=0.7, **TINY)
    sums = np.zeros((2, 8))
    for env in (plain, shaped):
        env.seed(0)
        env.reset()
    draw, returns, seen = np.random.default_rng(0), ([], []), 0
    for _ in range(600):
        actions = masked_random(np.stack(plain.env_method("action_masks")), draw)
        for k, env in enumerate((plain, shaped)):
            _, rewards, over, infos = env.step(actions)
            sums[k] += rewards
            returns[k].extend(sums[k, over])
            sums[k, over] = 0.0
            seen += sum(info.get("golden_answer_seen", 0) for info in infos)
    assert np.allclose(*returns, atol=1e-6) and len(returns[0]) > 50
    assert seen > 0


def test_policy_trains_saves_and_drives_the_curriculum(tmp_path):
    env = TokenVecEnv(4, noise="linear", noise_end=1.0, **TINY)
    model = make_model(env)
    before = [p.clone() for p in model.policy.parameters()]
    model.learn(256, callback=ProgressCallback())
    assert any(
        not torch.equal(a, b) for a, b in zip(before, model.policy.parameters(), strict=True)
    )
    assert env.get_attr("progress")[0][0] == pytest.approx(0.5)
    model.save(tmp_path / "model")
    loaded = MaskablePPO.load(tmp_path / "model", device="cpu")
    observation, masks = env.reset(), get_action_masks(env)
    for deterministic in (True, False):
        torch.manual_seed(0)
        expected = model.predict(observation, action_masks=masks, deterministic=deterministic)[0]
        torch.manual_seed(0)
        actions = loaded.predict(observation, action_masks=masks, deterministic=deterministic)[0]
        assert actions.tolist() == expected.tolist()
        assert masks[np.arange(4), actions].all()


def test_cloning_the_solver_solves_questions_about_facts_it_has_not_seen():
    env = TokenVecEnv(32, noise_end=0.0, **TASK)
    env.seed(0)
    test = TokenVecEnv(66, split="test", noise_end=0.0, **TASK)
    model = make_model(env)
    before, _ = evaluate(model, test)
    shown = demonstrate(env, 500)
    assert shown.reward == 1.0 and len(shown.actions) == 32 * 500
    assert shown.masks[np.arange(len(shown.actions)), shown.actions].all()
    losses = clone(model.policy, shown, epochs=4, batch_size=256)
    f1, searches = evaluate(model, test)
    assert losses[-1] < 0.1 * losses[0]
    assert before < 0.1 and f1 >= 0.9 and searches == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("<think>x</think><search>a b</search>", "<think></think><search>a b</search>"),
        ("<think>x</think><answer>a</answer>", "<think></think><answer>a</answer>"),
    ],
)
def test_without_thought_keeps_what_acts(turn, expected):
    assert without_thought(turn) == expected


def test_command_line_trains_and_writes_its_curve(tmp_path):
    options = ["--folder", str(tmp_path), "--steps", "256", "--num-envs", "8", "--width", "16"]
    command = [sys.executable, "-m", "agents.sb3", *options, "--cloning-steps", "20"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "never searching earns at most 0.130" in result.stdout
    assert "cloned 160 tokens" in result.stdout
    assert (tmp_path / "curve.csv").read_text().startswith("seconds,steps,f1,searches\n")
    assert (tmp_path / "model.zip").exists()


def test_features_do_not_depend_on_the_padding():
    env = TokenVecEnv(2, **TINY)
    model = make_model(env)
    observation = {key: torch.as_tensor(value) for key, value in env.reset().items()}
    longer = {key: value.clone() for key, value in observation.items()}
    features = model.policy.features_extractor
    alone = features({key: value[:1] for key, value in observation.items()})
    longer["tokens"][:, int(longer["length"].max()) :] = 5  # behind the end of all
    longer["length"] = longer["length"].clone()
    assert torch.allclose(features(observation), features(longer))
    assert torch.allclose(features(observation)[:1], alone, atol=1e-6)
