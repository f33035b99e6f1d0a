"""The sampler that the options name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from agents.sampling.interface import OwnSamplers, SamplerService
from agents.sampling.policy import Policy
from agents.sampling.vllm.agreement import Agreement
from agents.sampling.vllm.sampler import Connection, VLLMSamplers
from agents.sampling.vllm.weights import WeightsFolder
from agents.tiny import find_model
from agents.training.config import Config
from agents.training.distributed import Processes


def make_samplers(config: Config, policy: Policy, processes: Processes) -> SamplerService:
    """Make the sampler that ``config.sampler`` names; it has not been started yet.

    Raises:
        ValueError: there are several processes, and vLLM in the process or adapters.
        ServiceError: a URL is wrong.
    """
    if config.sampler == "transformers":
        return OwnSamplers(policy)
    bfloat16 = config.uses_bfloat16(processes.device)
    tolerance = config.sampler_tolerance or (0.5 if bfloat16 else 1e-3)
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    shared = config.sampler_folder
    folder = WeightsFolder(shared or config.folder / "weights", dtype, clear=shared is None)
    agreement = Agreement(policy, config.prompt_template, tolerance)
    return VLLMSamplers(policy, _connect(config, policy, processes, dtype), agreement, folder)


def _connect(
    config: Config, policy: Policy, processes: Processes, dtype: torch.dtype
) -> Connection:
    if processes.size > 1 and config.lora_rank:
        raise ValueError(
            f"`sampler` 'vllm' with `lora_rank` works with one process, and there are "
            f"{processes.size}: only the main one would know the name of the new adapters."
        )
    if config.sampler_url:
        from agents.sampling.vllm.servers import VLLMServers  # needs aiohttp

        return VLLMServers(
            config.sampler_url,
            config.concurrent_episodes,
            config.max_context,
            config.sampler_timeout_s,
        )
    if processes.size > 1:
        raise ValueError(
            f"`sampler` 'vllm' in the process works with one process, and there are "
            f"{processes.size}: give servers by `sampler_url`."
        )
    from agents.sampling.vllm.process import VLLMProcess

    on_gpu = processes.device.type == "cuda"
    options: dict[str, Any] = {
        "dtype": str(dtype).removeprefix("torch."),
        "max_model_len": config.max_context,
        "max_num_seqs": config.concurrent_episodes,
        "logprobs_mode": "processed_logprobs",
    }
    if on_gpu:
        options["gpu_memory_utilization"] = config.sampler_memory
    else:
        options["enforce_eager"] = True  # to compile takes longer than to sample
    if config.lora_rank:
        options |= {"enable_lora": True, "max_lora_rank": _vllm_rank(config.lora_rank)}
    return VLLMProcess(
        _base_model(config, policy), options, config.sampler_timeout_s, on_gpu=on_gpu
    )


def _base_model(config: Config, policy: Policy) -> str:
    """Return the model whose weights vLLM begins with: that below the adapters, if there are."""
    adapters: dict[str, Any] = getattr(policy.model, "peft_config", {})
    bases = [adapter.base_model_name_or_path for adapter in adapters.values()]
    base = find_model(bases[0] if bases else config.model)
    return str(Path(base).absolute()) if Path(base).is_dir() else str(base)


def _vllm_rank(rank: int) -> int:
    """Return the least rank that vLLM knows and that is not below ``rank``."""
    known = (1, 8, 16, 32, 64, 128, 256, 320, 512)
    return next((each for each in known if each >= rank), rank)
