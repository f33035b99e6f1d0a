"""The command lines of `agents`: what the user can mend is one line, without a traceback."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from agents.ppo import PPOConfig, train
from agents.training.cli import run_main
from agents.training.config import Config

ROOT = Path(__file__).parent.parent
PPO = (train, PPOConfig)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Where a run would write, and where there is a file called ``file``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")


def run(*command):
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )


def call(program, arguments, monkeypatch):
    """What a program's command line ends with."""
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    with pytest.raises(SystemExit) as end:
        run_main(*program)
    return end.value.code


def test_command_line_prints_one_line_without_a_traceback():
    result = run("agents.ppo", "--folder", "setup.cfg")
    assert result.returncode == 1
    assert result.stderr == "error: `folder` must be a folder, and setup.cfg is a file.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folder", ""], "`folder` must be a folder of the run's own, got '' or '.'."),
        (["--seed", "-1"], "`seed` must be from 0 to 2**63 - 1, got -1."),
        (["--seed", str(10**22)], f"`seed` must be from 0 to 2**63 - 1, got {10**22}."),
        (["--kl-coef", "-1"], "`kl_coef` must not be negative, got -1.0."),
    ],
)
def test_command_line_of_bad_options_is_one_line(arguments, message, monkeypatch, capsys):
    assert call(PPO, arguments, monkeypatch) == f"error: {message}"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folder", "file"], "`folder` file cannot be used: "),
        (["--folder", ""], "`folder` must be a folder of the run's own, got '' or '.'."),
        (["--seed", "-1"], "`seed` must be from 0 to 2**32 - 1, got -1."),
        (["--num-envs", "0"], "`num_envs` must be at least 1, got 0."),
    ],
)
def test_command_line_of_sb3_with_bad_options_is_one_line(arguments, message, monkeypatch):
    pytest.importorskip("sb3_contrib")
    from agents.sb3.__main__ import Options
    from agents.sb3.__main__ import train as train_sb3

    assert call((train_sb3, Options), arguments, monkeypatch).startswith(f"error: {message}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_command_line_of_a_missing_gpu_is_one_line(monkeypatch):
    """It was once an AssertionError out of the middle of torch."""
    end = call(PPO, ["--device", "cuda"], monkeypatch)
    assert end.startswith("error: `device` is 'cuda', and torch finds no GPU: choose 'cpu'")


def test_command_line_of_an_unknown_device_says_which_there_are(monkeypatch, capsys):
    assert call(PPO, ["--device", "tpu"], monkeypatch) == 2
    shown = " ".join(capsys.readouterr().err.replace("│", "").split())
    assert "'tpu'" in shown and "('auto', 'cpu', 'cuda')" in shown


def test_command_line_of_a_module_with_a_syntax_error_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken_engine.py").write_text("class Engine:\n    def search(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    end = call(PPO, ["--engine", "broken_engine:Engine"], monkeypatch)
    expected = "error: engine 'broken_engine:Engine' cannot be imported: "
    assert end.startswith(expected) and end.endswith("(broken_engine.py, line 2).")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Config(device="tpu"), "`device` must be one of auto, cpu, cuda, got 'tpu'"),
        (lambda: Config(precision="half"), "`precision` must be one of auto, float32, bfloat16"),
        (
            lambda: Config(old_log_probs="both"),
            "`old_log_probs` must be one of auto, learner, sampler",
        ),
    ],
)
def test_options_from_python_are_checked_as_those_of_the_command_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("module", ["agents.ppo", "agents.sb3"])
def test_help_names_the_command_to_run(module):
    if module == "agents.sb3":
        pytest.importorskip("sb3_contrib")
    result = run(module, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"usage: python -m {module} ")
    assert not re.search(r"\brounds?\b", result.stdout, re.IGNORECASE)
