"""Stable-Baselines3 on the token environment."""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import CombinedExtractor

from agents.sb3 import EvaluationCallback, ProgressCallback, TokenPolicy, TokenVecEnv
from agents.sb3.__main__ import TASK
from agents.sb3.cloning import clone, demonstrate, without_thought
from agents.sb3.evaluation import evaluate, make_test_env
from zs_env.envs.token_vector_env import ZeroSearchTokenVectorEnv
from zs_env.rewards import f1_score
from zs_env.world.tokenizer import WorldTokenizer

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
    draw, ended, turns = np.random.default_rng(0), 0, 0
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
        for i in np.flatnonzero(~over):
            if infos.get("_turn", np.zeros(4))[i]:
                turns += 1
                assert listed[i]["query"] == infos["query"][i] and listed[i]["turn"] >= 1
                assert "action_mask" not in listed[i]
            else:
                assert listed[i] == {}
        running = [episode.question.id for episode in env.get_attr("episode")]
        assert [info["question_id"] for info in env.reset_infos] == running
    assert ended > 20 and turns > 20


def test_vec_env_supports_masks_attributes_and_methods():
    env = TokenVecEnv(3, **TINY)
    env.reset()
    assert is_masking_supported(env)
    assert get_action_masks(env).shape == (3, env.action_space.n)
    assert env.env_method("action_masks", indices=[1])[0].shape == (env.action_space.n,)
    env.env_method("set_progress", 0.5)
    assert env.get_attr("progress") == [0.5] * 3 and env.get_attr("progress", 1) == [0.5]
    assert env.get_attr("episode", [2]) == [env.envs.episodes[2]]
    assert env.get_attr("action_space") == [env.action_space] * 3
    assert env.reset()["length"].shape == (3, 1)
    env.close()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda env: env.env_method("set_progress", 0.5, indices=[0]), "leave `indices` out"),
        (lambda env: env.set_attr("render_mode", "ansi", indices=0), "leave `indices` out"),
        (lambda env: env.env_method("reset"), r"call reset\(\) of the vector environment"),
    ],
)
def test_vec_env_refuses_what_would_touch_other_environments_too(call, message):
    env = TokenVecEnv(3, **TINY)
    env.reset()
    with pytest.raises(ValueError, match=message):
        call(env)
    assert env.get_attr("progress") == [0.0] * 3 and env.get_attr("render_mode") == [None] * 3


def test_vec_env_options_are_those_of_the_next_reset_alone():
    env = TokenVecEnv(3, noise_end=1.0, **TINY)
    source = env.envs.source.questions
    ids = [source[i].id for i in (5, 2, 9)]
    env.seed(0)
    env.set_options([{"question": q, "key": 4, "progress": 1.0} for q in ids])
    env.reset()
    assert [episode.question.id for episode in env.envs.episodes] == ids
    assert [episode.key for episode in env.envs.episodes] == [4] * 3
    assert env.get_attr("progress") == [1.0] * 3
    assert env.reset_infos[1]["question_id"] == ids[1]
    env.reset()
    assert [episode.question.id for episode in env.envs.episodes] != ids
    env.set_options([{"question": ids[0]}, {}, {}])
    env.reset()
    assert env.envs.episodes[0].question.id == ids[0]
    env.set_options([{"progress": 0.5}, {}, {}])
    with pytest.raises(ValueError, match="`progress` must be the same"):
        env.reset()


def test_evaluation_plays_each_test_question_once():
    class Searcher:
        """Searches for the question in every second episode, and then answers "bell"."""

        def __init__(self, test):
            self.test = test
            self.unwritten = [[] for _ in range(test.num_envs)]

        def predict(self, observation, deterministic, action_masks):
            assert deterministic
            actions = np.array([self.next_token(i) for i in range(self.test.num_envs)])
            assert action_masks[np.arange(len(actions)), actions].all()
            return actions, None

        def next_token(self, i):
            if not self.unwritten[i]:
                episode = self.test.envs.episodes[i]
                searches = i % 2 == 0 and episode.num_searches == 0
                query = f"<search>{episode.question.text}</search>"
                turn = "<think></think>" + (query if searches else "<answer>bell</answer>")
                self.unwritten[i] = list(self.test.envs.setup.encoder.encode(turn))[::-1]
            return self.unwritten[i].pop()

    test = make_test_env(**TASK)
    assert test.num_envs == len(test.envs.source.questions) == 264
    questions = [test.envs.source.questions[i] for i in range(264)]
    expected = np.mean([f1_score("bell", question.golden_answers) for question in questions])
    f1, searches = evaluate(Searcher(test), test)
    assert f1 == pytest.approx(expected) and 0.0 < f1 < 0.2
    assert searches == 0.5


def test_policy_trains_saves_and_drives_the_curriculum(tmp_path):
    env = TokenVecEnv(4, noise="linear", noise_end=1.0, **TINY)
    model = make_model(env)
    before = [p.clone() for p in model.policy.parameters()]
    model.learn(256, callback=ProgressCallback())
    assert any(
        not torch.equal(a, b) for a, b in zip(before, model.policy.parameters(), strict=True)
    )
    assert env.get_attr("progress")[0] == pytest.approx(0.5)
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
    test = make_test_env(**TASK)
    model = make_model(env)
    before = evaluate(model, test)
    shown = demonstrate(env, 500)
    assert shown.reward == 1.0 and len(shown.actions) == 32 * 500
    assert shown.masks[np.arange(len(shown.actions)), shown.actions].all()
    losses = clone(model.policy, shown, epochs=4, batch_size=256)
    after = evaluate(model, test)
    assert losses[-1] < 0.1 * losses[0]
    assert before.f1 < 0.1 and after.f1 >= 0.9 and after.searches == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("<think>x</think><search>a b</search>", "<think></think><search>a b</search>"),
        ("<think>x</think><answer>a</answer>", "<think></think><answer>a</answer>"),
    ],
)
def test_without_thought_keeps_what_acts(turn, expected):
    assert without_thought(turn) == expected


def test_command_line_trains_and_reports(tmp_path):
    options = ["--folder", str(tmp_path), "--steps", "256", "--num-envs", "8", "--width", "16"]
    command = [sys.executable, "-m", "agents.sb3", *options, "--cloning-steps", "20"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "never searching earns at most 0.130" in result.stdout
    assert "cloned 160 tokens" in result.stdout
    report = (tmp_path / "report.md").read_text()
    rows = ["never searching, at most | 0.130 |", "before", "after cloning", "after PPO on 256 tok"]
    assert all(f"\n| {row}" in report for row in rows)
    for name in re.findall(r"!\[.*\]\((.*)\)", report):
        assert (tmp_path / name).stat().st_size > 1000
    assert "f1.png" in report
    assert "eval/f1" in (tmp_path / "progress.csv").read_text()
    assert (tmp_path / "model.zip").exists()


def test_command_line_refuses_what_makes_no_sense():
    command = [sys.executable, "-m", "agents.sb3", "--steps", "0"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0
    assert "`steps` must be at least 1, got 0." in result.stderr


def test_command_line_interrupted_keeps_what_was_learned(tmp_path):
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from agents.sb3.__main__ import Options, train; from pathlib import Path; "
        "train(Options(folder=Path(sys.argv[1]), num_envs=8))"
    )
    command = [sys.executable, "-u", "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert any(" 0 tokens  test F1" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0 and "stopped; what was learned so far is saved" in rest
    assert "\n| after PPO on " in (tmp_path / "report.md").read_text()
    assert (tmp_path / "model.zip").exists()


def test_evaluation_callback_records_where_it_stands(tmp_path):
    env = TokenVecEnv(4, **TINY)
    model = make_model(env)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(512, callback=EvaluationCallback(make_test_env(**TASK), every=256))
    model.logger.close()
    with (tmp_path / "progress.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["eval/f1"]]
    assert [int(row["time/total_timesteps"]) for row in rows] == [0, 256, 512]


def test_features_do_not_depend_on_the_padding():
    env = TokenVecEnv(8, **TINY)
    observation = {key: torch.as_tensor(value) for key, value in env.reset().items()}
    features = make_model(env).policy.features_extractor
    shortest = int(observation["length"].argmin())
    assert observation["length"].max() > observation["length"][shortest]
    alone = features({key: value[shortest : shortest + 1] for key, value in observation.items()})
    assert torch.allclose(features(observation)[shortest], alone[0], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"net_arch": [64]}, "`net_arch` must be"),
        ({"net_arch": {"pi": [64], "vf": [64]}}, "`net_arch` must be"),
        ({"features_extractor_class": CombinedExtractor}, "must be TokenFeatures .* got Combined"),
        ({"features_extractor_kwargs": {"width": 30}}, "`width` must be a multiple of 4, got 30"),
    ],
)
def test_policy_says_what_it_cannot_be_made_of(options, message):
    with pytest.raises(ValueError, match=message):
        MaskablePPO(TokenPolicy, TokenVecEnv(2, **TINY), policy_kwargs=options, device="cpu")


@pytest.mark.parametrize(
    ("task", "num_steps", "message"),
    [
        ({"max_turn_tokens": 8}, 30, "`max_turn_tokens` is too small .* tokens more"),
        ({}, 3, "no episode ended in 3 steps"),
    ],
)
def test_demonstrations_that_mean_nothing_are_refused(task, num_steps, message):
    with pytest.raises(ValueError, match=message):
        demonstrate(TokenVecEnv(4, **{**TINY, **task}), num_steps)


def test_demonstrations_are_written_without_special_tokens():
    """A tokenizer that begins texts with a token of its own once made that the first action."""

    class Beginning(WorldTokenizer):
        def encode(self, text, *, add_special_tokens=True):
            ids = super().encode(text, add_special_tokens=False)
            return [self.token_id("<eos>"), *ids] if add_special_tokens else ids

    env = TokenVecEnv(4, **TINY, tokenizer=Beginning("tiny"), masked_action="error")
    shown = demonstrate(env, 40)
    assert shown.masks[np.arange(len(shown.actions)), shown.actions].all()


@pytest.mark.slow
def test_example_answers_questions_about_facts_it_has_not_seen():
    command = [sys.executable, "-m", "examples.sb3_maskable_ppo"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "<answer>" in result.stdout
    assert float(re.search(r"reward (\d\.\d+) ", result.stdout)[1]) > 0.8
