"""vLLM on the CPU as the sampler of a policy in training, in processes of its program.

`make test-vllm` runs this in an environment that has vLLM.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

from agents.sampling.errors import SamplerError
from agents.sampling.vllm.process import VLLMProcess
from agents.training.metrics import read_metrics
from tests.test_vllm_sampler import check_metrics
from tests.vllm_server import ENVIRONMENT

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


def program(folder: Path, *options: str) -> list[str]:
    """The command of a run with vLLM in its process."""
    return [
        *(sys.executable, "-m", "agents.grpo", "--folder", str(folder), "--sampler", "vllm"),
        *("--questions-per-update", "8", "--num-test-questions", "20"),
        *("--sampler-timeout-s", "3600"),  # a busy machine takes long to start vLLM
        *("--test-engines", "world", "--concurrent-episodes", "16", "--save-every", "1"),
        *options,
    ]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        program(folder, *options),
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def check_run(folder: Path, updates: int, *options: str) -> None:
    """That it goes on to the end, each update with the weights of the learner."""
    with start(folder, "--updates", str(updates), *options) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output[-3000:]
    check_metrics(folder, updates)


def test_each_update_is_played_with_its_adapters(tmp_path):
    check_run(tmp_path / "run", 2, "--lora-rank", "4")


def test_each_update_is_played_with_its_weights_before_and_after_vllm_dies(tmp_path):
    """The run ends when vLLM dies, and can be resumed."""
    import psutil

    folder = tmp_path / "run"
    with start(folder, "--updates", "5") as process:
        while process.poll() is None and not (folder / "checkpoints" / "000002").is_dir():
            time.sleep(0.1)
        for child in psutil.Process(process.pid).children(recursive=True):
            if "VLLM" in child.name():
                child.kill()
        output, _ = process.communicate()
    assert process.returncode == 1, output[-3000:]
    assert "error: vLLM has" in output and "--resume" in output
    done = read_metrics(folder)[-1]["update"]
    check_metrics(folder, done)
    assert 2 <= done < 5
    check_run(folder, 5, "--resume")


@pytest.mark.filterwarnings("ignore")  # vLLM, imported here, uses what torch has deprecated.
def test_a_model_that_vllm_cannot_load_is_an_error(tmp_path):
    vllm = VLLMProcess(str(tmp_path / "none"), {}, 600.0, on_gpu=False)
    with pytest.raises(SamplerError, match="vLLM does not start"):
        vllm.start()
    vllm.close()
