"""The inference server as verl runs it: an actor on the worker's machine, fed by its trainer."""

from __future__ import annotations

import uuid
from collections.abc import Generator
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, TokenOutput

from benchmarks.model_server import ModelServer


class Server:
    """Actor around a `ModelServer`.

    Args:
        path: folder of the model.
        seed: seed of the draws.
    """

    def __init__(self, path: str, seed: int) -> None:
        torch.set_num_threads(1)
        self._server = ModelServer(path, seed)
        self._global_steps = 0

    async def generate(
        self,
        request_id: str,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        image_data: Any = None,
        video_data: Any = None,
    ) -> Any:
        """Continue ``prompt_ids``."""
        written = await self._server.write(prompt_ids, sampling_params)
        return TokenOutput(
            token_ids=written.token_ids,
            log_probs=written.log_probs,
            extra_fields={"global_steps": self._global_steps},
        )

    async def load(self, weights: dict[str, torch.Tensor], global_steps: int | None) -> None:
        """Take the weights of a training step."""
        self._server.load(weights)
        self._global_steps = global_steps or 0

    async def wake_up(self, tags: Any = None) -> None:
        """Do nothing: weights stay in memory."""

    async def sleep(self) -> None:
        """Do nothing."""


def server_name(rank: int) -> str:
    """Return the name of the actor of a replica in its run."""
    return f"cpu_model_server_{rank}"


class CPUReplica(RolloutReplica):  # type: ignore[misc]  # untyped where not installed
    """Replica of one server."""

    async def launch_servers(self) -> None:
        """Start the server on the machine of its worker."""
        node = await self.workers[0].__ray_call__.remote(
            lambda worker: ray.get_runtime_context().get_node_id()
        )
        server = (
            ray.remote(Server)
            .options(
                name=server_name(self.replica_rank),
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
                num_cpus=0,
                max_concurrency=1000,
            )
            .remote(self.model_config.path, self.config.seed + self.replica_rank)
        )
        await server.wake_up.remote()
        self.servers = [server]
        self._server_handle = server
        self._server_address = f"{self.replica_rank}-{uuid.uuid4().hex}"

    def rollout_worker_use_gpu(self) -> bool:
        """Return False."""
        return False


class CPURollout(BaseRollout):  # type: ignore[misc]  # untyped where not installed
    """End of the trainer: hands its weights to the server."""

    def __init__(self, config: Any, model_config: Any, device_mesh: Any, **others: Any) -> None:
        super().__init__(config, model_config, device_mesh, **others)
        self._rank = device_mesh["dp"].get_local_rank()

    async def resume(self, tags: list[str]) -> None:
        """Do nothing: weights stay in memory."""

    async def release(self) -> None:
        """Do nothing."""

    async def update_weights(
        self,
        weights: Generator[tuple[str, torch.Tensor], None, None],
        wire_format: str = "named_tensors",
        global_steps: int | None = None,
        **others: Any,
    ) -> None:
        """Give ``weights`` to the server."""
        tensors = {name: tensor.detach().float().cpu().clone() for name, tensor in weights}
        await ray.get_actor(server_name(self._rank)).load.remote(tensors, global_steps)
