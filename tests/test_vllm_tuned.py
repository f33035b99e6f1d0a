"""A model that agents.sft has tuned, behind a server of vLLM on the CPU.

`make test-vllm` runs this in an environment that has vLLM.
"""

from __future__ import annotations

import contextlib

import pytest

from tests.pairs import WORDING, requests_and_pairs, same_documents, write_pairs
from tests.vllm_server import vllm_server
from zs_env.engines import load_engine

pytestmark = pytest.mark.vllm


def test_vllm_serves_a_tuned_model_of_the_world_as_it_stands(tmp_path):
    from agents.sft import train
    from agents.tuning.config import SFTConfig

    requests, pairs = requests_and_pairs()
    data = write_pairs(tmp_path / "pairs.jsonl", pairs)
    (tmp_path / "wording.txt").write_text(WORDING)
    options = {"steps": 60, "learning_rate": 5e-3, "save_every": 100, "device": "cpu"}
    train(SFTConfig(data=data, folder=tmp_path / "run", **options))
    engine = {"name": "simulated", "template": str(tmp_path / "wording.txt"), "temperature": 0}
    # Reading a prompt in chunks ends vLLM 0.32 on a CPU if a request has a seed, as each has here.
    serving = vllm_server(
        tmp_path / "run" / "model", tmp_path / "log.txt", "--no-enable-chunked-prefill"
    )
    with serving as url:
        engine |= {"base_url": url, "model": "tiny", "timeout_s": 300.0, "deadline_s": 600.0}
        with contextlib.closing(load_engine(engine)) as simulated:
            assert same_documents(simulated.search(requests), pairs)
