"""Registers the platform and the inference server with verl.

verl imports this in each of its processes, see `benchmarks.verl_cpu.run.ENVIRONMENT`.
"""

from __future__ import annotations

from functools import partial

from verl.plugin.platform import platform_manager
from verl.utils import distributed
from verl.workers.rollout.base import _ROLLOUT_REGISTRY
from verl.workers.rollout.replica import RolloutReplicaRegistry

from benchmarks.verl_cpu.platform import PlatformCPU

ROLLOUT = "cpu_model"
"""Name of the inference server: ``actor_rollout_ref.rollout.name``."""


def _load_replica() -> type:
    from benchmarks.verl_cpu.rollout import CPUReplica

    return CPUReplica


# verl would name the backend of the CPU twice, as that of the device, too.
distributed.initialize_global_process_group_ray = partial(
    distributed.initialize_global_process_group_ray, backend="gloo"
)
platform_manager.PlatformRegistry.register("cpu")(PlatformCPU)
RolloutReplicaRegistry.register(ROLLOUT, _load_replica)
_ROLLOUT_REGISTRY[(ROLLOUT, "async")] = "benchmarks.verl_cpu.rollout.CPURollout"
