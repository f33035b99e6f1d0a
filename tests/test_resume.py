"""Whether a run may go on: options that changed, options that came, a checkout that moved."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from agents.grpo import GRPOConfig
from agents.ppo import PPOConfig, train
from agents.training.checkpoint import last_checkpoint, load_state
from agents.training.config import Config
from agents.training.errors import CheckpointError
from agents.training.metrics import FILE_NAME, read_metrics
from agents.training.resume import check_options, default_options
from agents.training.run import Run

ROOT = Path(__file__).parent.parent
SMALL = {
    "updates": 2,
    "questions_per_update": 4,
    "test_engines": (),
    "minibatches": 1,
    "max_turns": 2,
    "max_context": 400,
    "save_every": 1,
}


def test_options_that_are_the_same_may_resume(tmp_path):
    config = GRPOConfig(folder=tmp_path, group_size=3, test_engines=("world",))
    assert check_options(config, config.to_json()) == []


@pytest.mark.parametrize("name", ["folder", "resume", "device", "save_every", "keep_checkpoints"])
def test_options_of_the_machine_may_change(name):
    config = GRPOConfig()
    assert check_options(config, {**config.to_json(), name: "another"}) == []


def test_options_that_changed_are_all_named():
    before = replace(GRPOConfig(), learning_rate=0.5, seed=3).to_json()
    with pytest.raises(CheckpointError, match=r"seed was 3, is 0, learning_rate was 0.5, is 0.001"):
        check_options(GRPOConfig(), before)


def test_options_added_since_count_as_their_defaults():
    """A run once refused to go on after an option was added to the program."""
    before = GRPOConfig().to_json()
    del before["old_log_probs"], before["divide_by_std"]
    assert check_options(GRPOConfig(), before) == []
    with pytest.raises(
        CheckpointError, match=r"old_log_probs was 'auto' \(the default; it is new\), is 'sampl"
    ):
        check_options(GRPOConfig(old_log_probs="sampler"), before)


def test_options_that_no_longer_exist_are_listed():
    before = {**GRPOConfig().to_json(), "rollout_rows": 256, "old": "x"}
    assert check_options(GRPOConfig(), before) == ["rollout_rows=256", "old='x'"]


@dataclass(frozen=True)
class UserConfig(Config):
    """Options with a default that is made, and one without any."""

    sizes: tuple[int, ...] = field(default_factory=lambda: (1, 2))
    required: int = field(kw_only=True)


def test_options_of_users_without_a_default_must_be_in_the_checkpoint():
    defaults = default_options(UserConfig)
    assert defaults["sizes"] == [1, 2] and "required" not in defaults
    before = Config().to_json()
    with pytest.raises(CheckpointError, match="required was None"):
        check_options(UserConfig(required=1), before)
    assert check_options(UserConfig(required=1), {**before, "required": 1}) == []


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """The options of a run that was interrupted after the first of its two updates."""
    config = PPOConfig(folder=tmp_path / "run", **SMALL)
    play = Run.play

    def play_and_stop(run, update):
        os.kill(os.getpid(), signal.SIGINT)
        return play(run, update)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Run, "play", play_and_stop)
        train(config)
    return config


def resume(config):
    train(replace(config, resume=True))


def change_state(config, change):
    file = last_checkpoint(config.folder / "checkpoints") / "trainer.json"
    state = json.loads(file.read_text())
    change(state)
    file.write_text(json.dumps(state))


def test_run_of_an_older_version_resumes_and_says_what_it_ignores(begun, capsys):
    def age(state):
        del state["config"]["old_log_probs"]
        state["config"]["rollout_rows"] = 256

    change_state(begun, age)
    resume(begun)
    assert [metrics["update"] for metrics in read_metrics(begun.folder)] == [0, 1, 2]
    said = [line for line in capsys.readouterr().out.splitlines() if "ignored" in line]
    assert said == ["ignored options that no longer exist: rollout_rows=256"]


def test_run_of_another_number_of_processes_is_refused(begun):
    change_state(begun, lambda state: state.update(processes=2))
    with pytest.raises(CheckpointError, match="begun with 2 processes, and now there are 1"):
        resume(begun)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "critic.safetensors", "optimizer.safetensors", "tokenizer.json"]
)
def test_run_whose_checkpoint_is_damaged_says_so(begun, name):
    file = last_checkpoint(begun.folder / "checkpoints") / name
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=rf"000001/{re.escape(name)} is damaged"):
        resume(begun)


def test_run_whose_checkpoint_lacks_an_entry_says_so(begun):
    change_state(begun, lambda state: state.pop("memory"))
    with pytest.raises(CheckpointError, match=r"000001 cannot be read: KeyError: 'memory'"):
        resume(begun)


def test_run_whose_metrics_are_damaged_says_so_and_leaves_them(begun):
    file = begun.folder / FILE_NAME
    damaged = "nonsense\n" + file.read_text()
    file.write_text(damaged)
    for _ in range(2):  # a refused run gives the folder free
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl:1: not a line of JSON"):
            resume(begun)
    assert file.read_text() == damaged


def test_run_in_a_folder_of_another_run_is_refused_until_that_ends(tmp_path):
    config = PPOConfig(folder=tmp_path / "run", **{**SMALL, "updates": 1})
    waiting = Run(config, with_values=True)
    with Run(config):
        with pytest.raises(CheckpointError, match="in use by process"):
            train(config)
        with pytest.raises(CheckpointError, match="in use by process"):
            waiting.__enter__()
    train(config)
    with pytest.raises(CheckpointError, match="another run has just written"):
        waiting.__enter__()


def test_checkpoints_hold_what_a_resumed_run_reads_and_no_more(begun):
    state = load_state(last_checkpoint(begun.folder / "checkpoints"))
    expected = {"update", "memory", "random_state", "processes", "config", "optimizer"}
    assert set(state) == expected
    assert state["config"]["model"] == "tiny"


PROGRAM = """
import sys
from pathlib import Path
from agents.ppo import PPOConfig, train
from agents.training.run import Run
from zs_env.commands.main import main
play = Run.play
def play_and_stop(run, update):
    run._interrupted = "stop" in sys.argv
    return play(run, update)
Run.play = play_and_stop
for name, lora_rank in {"whole": 0, "adapters": 2}.items():
    try:
        train(PPOConfig(folder=Path("runs", name), resume=True, updates=2, questions_per_update=4,
                        test_engines=(), minibatches=1, max_turns=2, max_context=400, save_every=1,
                        lora_rank=lora_rank))
        assert "stop" not in sys.argv
    except SystemExit as end:
        assert "stop" in sys.argv and end.code == 130
if "stop" not in sys.argv:
    # Beside adapters alone, where the bundled model is now has to be said.
    for model in ("whole/checkpoints/000002",
                  f"adapters/checkpoints/000002,base={Path('agents/tiny/model').resolve()}"):
        main(["evaluate", "--model", f"runs/{model}", "--num-questions", "3", "--quiet"])
"""


def run_in(checkout, *arguments):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=checkout, capture_output=True, text=True
    )


@pytest.mark.slow
def test_run_goes_on_in_a_checkout_that_has_moved(tmp_path):
    """Checkpoints once named the bundled model by the path that it had."""
    before, after = tmp_path / "before", tmp_path / "elsewhere" / "after"
    for package in ("agents", "zs_env"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, before / package, ignore=ignore)
    stopped = run_in(before, "stop")
    assert stopped.returncode == 0, stopped.stderr
    after.parent.mkdir()
    before.rename(after)
    resumed = run_in(after)
    assert resumed.returncode == 0, resumed.stderr
    for name in ("whole", "adapters"):
        metrics = read_metrics(after / "runs" / name)
        assert [each["update"] for each in metrics] == [0, 1, 2]
