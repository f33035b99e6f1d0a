"""A run of ``verl.trainer.main_ppo`` on CPUs, and its log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent

ENVIRONMENT = {
    "VERL_USE_EXTERNAL_MODULES": "benchmarks.verl_cpu.plugin",
    "VERL_PLATFORM": "cpu",
    "VERL_ENGINE_DEVICE": "cuda",  # the engine that knows FSDP; its devices are the platform's
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_DEDUP_LOGS": "0",
}
"""Environment of all processes of a run."""

FLOAT32 = "{param_dtype: fp32, reduce_dtype: fp32, buffer_dtype: fp32}"

OPTIONS: dict[str, Any] = {
    "trainer.device": "cpu",
    "trainer.nnodes": 1,
    "trainer.n_gpus_per_node": 1,
    "trainer.logger": "[file]",
    "trainer.resume_mode": "disable",
    "data.dataloader_num_workers": 0,
    "actor_rollout_ref.model.use_remove_padding": False,
    "actor_rollout_ref.model.enable_gradient_checkpointing": False,
    "+actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
    "actor_rollout_ref.actor.strategy": "fsdp2",
    "actor_rollout_ref.actor.use_torch_compile": False,
    "actor_rollout_ref.actor.fsdp_config.use_torch_compile": False,
    "+actor_rollout_ref.actor.fsdp_config.mixed_precision": FLOAT32,
    "actor_rollout_ref.rollout.name": "cpu_model",
    "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
    "actor_rollout_ref.rollout.agent.num_workers": 1,
    "reward.num_workers": 1,
    "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    "+ray_kwargs.ray_init.address": "local",
    "+ray_kwargs.ray_init.include_dashboard": False,
    "ray_kwargs.ray_init.num_cpus": 8,  # Ray counts processes, most of which wait
    "+ray_kwargs.ray_init.num_gpus": 1,  # one for each worker; they do not exist
}
"""Options that training on a CPU needs, beside those of the adapter."""

CRITIC: dict[str, Any] = {
    "critic.strategy": "fsdp2",
    "critic.model.use_remove_padding": False,
    "critic.model.enable_gradient_checkpointing": False,
    "+critic.model.override_config.attn_implementation": "sdpa",
    "critic.fsdp.use_torch_compile": False,
    "+critic.fsdp.mixed_precision": FLOAT32,
}
"""The same for a critic."""

Log = list[dict[str, float]]
"""What was logged, by name, of each step; the first is that of the validation before."""


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a run whose log is to lie in ``folder``."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        **ENVIRONMENT,
        "PYTHONPATH": os.pathsep.join(paths),
        "VERL_FILE_LOGGER_PATH": str(folder / "log.jsonl"),
    }


def train(config: Path, options: Mapping[str, Any]) -> Log:
    """Run ``main_ppo`` with the configuration at ``config``, and return its log.

    Raises:
        RuntimeError: it failed; the message has the end of what it wrote.
    """
    folder = config.parent
    command = [sys.executable, "-m", "verl.trainer.main_ppo"]
    command += ["--config-dir", str(folder), "--config-name", config.stem]
    command += [f"{name}={value}" for name, value in {**OPTIONS, **options}.items()]
    output = folder / "output.txt"
    with output.open("w") as file:
        status = subprocess.run(
            command, env=environment(folder), cwd=folder, stdout=file, stderr=subprocess.STDOUT
        ).returncode
    if status:
        raise RuntimeError(f"main_ppo ended with status {status}:\n{output.read_text()[-4000:]}")
    return read_log(folder)


def read_log(folder: Path) -> Log:
    """Return what was logged in ``folder``."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["data"] for line in lines]
