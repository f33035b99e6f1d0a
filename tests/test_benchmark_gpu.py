"""The benchmark of a GPU: its whole path on the CPU, and what it says without a GPU."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from benchmarks.gpu import Options, main, options_of_run

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_fails():
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("error: there is no GPU that torch can use")


def test_the_whole_path_runs_on_the_cpu(capsys):
    main(Options(device="cpu", updates=2, questions_per_update=4, group_size=2))
    shown = capsys.readouterr().out
    for name in ("generation", "simulation", "learning", "update"):
        assert re.search(rf"^{name} +[\d.]+ s an update +[\d,]+ tokens/s$", shown, re.MULTILINE)
    searches = re.search(r"(\d+) searches \(0 failed\), (\d+) completions", shown)
    assert int(searches[1]) > 0 and int(searches[2]) > 0
    peak = re.search(r"^peak memory +([\d.]+) GiB", shown, re.MULTILINE)
    assert 0.1 < float(peak[1]) < 100
    assert "tiny on CPU, not a measurement: 2 updates" in shown


def test_on_a_gpu_vllm_samples_and_simulates(tmp_path):
    config = options_of_run(Options(model="some/model", sampler_memory=0.4), tmp_path)
    assert (config.sampler, config.sampler_memory, config.device) == ("vllm", 0.4, "cuda")
    assert '"llm": "vllm_local", "model": "some/model"' in config.engine


def test_one_update_is_too_few():
    with pytest.raises(ValueError, match="`updates` must be at least 2"):
        Options(updates=1)
