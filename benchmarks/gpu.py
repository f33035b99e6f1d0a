r"""Time, tokens a second and memory of training a real model on a GPU, by GRPO.

    python -m benchmarks.gpu --model Qwen/Qwen2.5-0.5B-Instruct --updates 3
    python -m benchmarks.gpu --model Qwen/Qwen2.5-3B --lora-rank 16
    python -m benchmarks.gpu --model Qwen/Qwen2.5-3B --sampler-url http://127.0.0.1:8000 \
        --simulation simulated,base_url=http://127.0.0.1:8001/v1,model=simulation

Trains for a few updates on questions of the embedded world. vLLM samples the policy's tokens, and
another vLLM plays the search engine, both on the same GPU unless servers are given; the simulation
LLM is the model itself, as it was at first. Weights in float32, gradients and optimizer take 20
bytes for each parameter (with the reference policy), so without adapters 80 GB are for models of up
to 1.5 billion parameters with both vLLM beside them, and for 3 billion with both on other GPUs.

It needs an environment with torch for CUDA and vLLM: ``pip install '.[train,vllm,lora,llm]'`` on a
machine with a GPU. ``make benchmark-gpu GPU_PYTHON=/path/to/python MODEL_TO_TRAIN=…`` names both.
Without a GPU it ends with status 1. ``--device cpu`` goes the same way with the bundled model, its
own sampler and a script as simulation LLM: a test of this program, not a measurement.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from agents.grpo import GRPOConfig, train
from agents.training.cli import run_main
from agents.training.metrics import Metrics, read_metrics
from benchmarks import measured_engine
from zs_env.engines import SearchEngine

SCRIPTED = "simulated,llm=scripted,script=benchmarks.measured_engine:scripted_documents"
POLL_S = 0.2
"""Time between two looks at the GPU's memory, in seconds."""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    model: str = "Qwen/Qwen2.5-0.5B-Instruct"
    """Model to train, of 0.5 to 3 billion parameters: a folder or a hub name."""
    updates: int = 3
    """Updates of the run; the first is not counted, because it warms up."""
    questions_per_update: int = 64
    """Questions of an update."""
    group_size: int = 5
    """Episodes for each question."""
    lora_rank: int = 0
    """Rank of adapters that alone are trained; 0 trains all weights."""
    max_context: int = 4096
    """Largest length of an episode, in tokens."""
    max_turn_tokens: int = 500
    """Largest length of a turn, in tokens."""
    sampler_memory: float = 0.2
    """Share of the GPU's memory for the vLLM that samples."""
    sampler_url: tuple[str, ...] = ()
    """URLs of vLLM servers of the model, on GPUs of their own, that sample instead."""
    simulation: str = ""
    """Engine, such as simulated,base_url=http://127.0.0.1:8001/v1,model=simulation.

    By default vLLM in this process, with the model and simulation_memory.
    """
    simulation_memory: float = 0.2
    """Share of the GPU's memory for the vLLM that plays the search engine."""
    device: Literal["cuda", "cpu"] = "cuda"
    """Device: cuda, or cpu to try this program with the bundled model."""

    def __post_init__(self) -> None:
        """Check the values."""
        if self.updates < 2:
            raise ValueError(f"`updates` must be at least 2, got {self.updates}.")


class PeakMemory:
    """Largest memory in use on the GPU while the context is open, by all processes, in bytes.

    Attributes:
        used: the largest so far; on a CPU, the peak of this process.
        learner: the largest that torch allocated in this process; 0 on a CPU.
    """

    def __init__(self, device: str) -> None:
        self.used = self.learner = 0
        self._on_gpu = device == "cuda"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        """Begin to watch."""
        if self._on_gpu:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, and read the peaks."""
        self._over.set()
        if self._on_gpu:
            self._thread.join()
            self.learner = torch.cuda.max_memory_allocated()
        else:  # in kB on Linux, in bytes on macOS
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            self.used = peak * (1 if sys.platform == "darwin" else 1024)

    def _watch(self) -> None:
        while not self._over.wait(POLL_S):
            free, total = torch.cuda.mem_get_info()
            self.used = max(self.used, total - free)


def options_of_run(options: Options, folder: Path) -> GRPOConfig:
    """Return the options of the run in ``folder``."""
    on_gpu = options.device == "cuda"
    engine: Any = options.simulation or (
        {
            "name": "simulated",
            "llm": "vllm_local",
            "model": options.model,
            "max_model_len": 2048,
            "gpu_memory_utilization": options.simulation_memory,
            "prefill": True,
        }
        if on_gpu
        else SCRIPTED
    )
    shared: dict[str, Any] = {
        "folder": folder,
        "engine": json.dumps({"name": "benchmarks.measured_engine:load", "engine": engine}),
        "test_engines": (),
        "updates": options.updates,
        "save_every": options.updates,
        "questions_per_update": options.questions_per_update,
        "group_size": options.group_size,
        "lora_rank": options.lora_rank,
        "learning_rate": 1e-6,
        "learning_rate_decay": 0.0,
        "device": options.device,
        "minibatches": min(4, options.questions_per_update),
    }
    if not on_gpu:
        return GRPOConfig(**shared)
    return GRPOConfig(
        **shared,
        model=options.model,
        top_k=5,
        document_words=30,
        max_context=options.max_context,
        max_turn_tokens=options.max_turn_tokens,
        gradient_checkpointing=True,
        sampler="vllm",
        sampler_memory=options.sampler_memory,
        sampler_url=options.sampler_url,
    )


def print_figures(
    metrics: list[Metrics], engine: SearchEngine, memory: PeakMemory, updates: int
) -> None:
    """Print what the updates after the first took; of the simulation, what all of them took."""

    def total(name: str) -> float:
        return sum(m.get(name, 0.0) for m in metrics)

    def line(name: str, seconds: float, tokens: float) -> None:
        each = seconds / len(metrics)
        print(f"{name:12}{each:9.2f} s an update {tokens / max(seconds, 1e-9):12,.0f} tokens/s")

    sampled = sum(m["episodes"] * m["response_length"] for m in metrics)
    read = sum(m["episodes"] * m["length"] for m in metrics)
    line("generation", total("time/generation"), sampled)
    usage = engine.usage
    if usage is not None:
        # Searches wait side by side: what passes is the time that the episodes waited for them.
        waited = total("time/environment")
        written = usage.completion_tokens * len(metrics) / updates
        line("simulation", waited, written)
        print(f"            {usage}")
    line("learning", total("time/score") + total("time/learn"), read)
    line("update", total("time/update"), read)
    print(f"transfer    {total('time/transfer') / len(metrics):9.2f} s an update")
    print(f"episodes    {total('episodes') / total('time/update'):9.2f} /s")
    gib = 2**30
    print(f"peak memory {memory.used / gib:9.2f} GiB, of it torch {memory.learner / gib:.2f} GiB")


def main(options: Options) -> None:
    """Train, and print the figures.

    Raises:
        ValueError: there is no GPU.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "there is no GPU that torch can use, and this measures one. On a machine that has one, "
            "run it with the python of an environment with torch for CUDA and vllm "
            "(make benchmark-gpu GPU_PYTHON=…); `--device cpu` only tries the program."
        )
    with tempfile.TemporaryDirectory() as place, PeakMemory(options.device) as memory:
        folder = Path(place) / "run"
        config = options_of_run(options, folder)
        start = time.perf_counter()
        train(config)
        seconds = time.perf_counter() - start
        metrics = [m for m in read_metrics(folder) if m["update"] > 1]
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU, not a measurement"
    print(f"{config.model} on {name}: {options.updates} updates in {seconds:.0f} s with start")
    print_figures(metrics, measured_engine.ENGINES[-1], memory, options.updates)


if __name__ == "__main__":
    run_main(main, Options)
