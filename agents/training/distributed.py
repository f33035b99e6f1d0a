"""Processes of a run: one, or several started by torchrun; the same code serves both."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from agents.training.errors import CheckpointError

T = TypeVar("T")


class Processes:
    """Processes of a run, which exchange data and average gradients.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ValueError: ``device`` is ``cuda``, and there is no GPU.
        RuntimeError: the number of processes is not the one that torchrun was asked for.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        device: device that this process computes on.
    """

    def __init__(self, device: str = "auto") -> None:
        expected = int(os.environ.get("WORLD_SIZE", "1"))
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        use_gpu = device != "cpu" and torch.cuda.is_available()
        if device == "cuda" and not use_gpu:
            raise ValueError(
                "`device` is 'cuda', and torch finds no GPU: choose 'cpu' or 'auto', or install "
                "torch for CUDA and its driver."
            )
        self.device = torch.device(f"cuda:{local_rank}" if use_gpu else "cpu")
        self._began = False
        # torchrun sets the first, also for one process; other launchers only WORLD_SIZE.
        if "TORCHELASTIC_RUN_ID" in os.environ or expected > 1:
            if use_gpu:
                torch.cuda.set_device(self.device)
            if not dist.is_initialized():
                dist.init_process_group("nccl" if use_gpu else "gloo")
                self._began = True
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.size = dist.get_world_size() if dist.is_initialized() else 1
        if self.size != expected:
            raise RuntimeError(
                f"expected {expected} processes (WORLD_SIZE), got {self.size}: start them by "
                "torchrun."
            )

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and prints."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """Return this process's part of ``items``."""
        return list(items[self.rank :: self.size])

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return ``module`` such that backward passes average gradients over the processes."""
        return module if self.size == 1 else DistributedDataParallel(module)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of ``values`` over all processes, on the CPU."""
        if self.size > 1:
            values = values.to(self.device)
            dist.all_reduce(values)
        return values.cpu()

    def mean(self, value: float) -> float:
        """Return the mean of ``value`` over all processes."""
        return float(self.sum(torch.tensor(value, dtype=torch.float64))) / self.size

    def moments(self, values: Tensor, mask: Tensor) -> tuple[float, float]:
        """Return mean and variance of ``values`` where ``mask`` is True, over all processes."""
        chosen = values[mask].double()
        sums = self.sum(torch.stack([chosen.sum(), chosen.square().sum(), mask.sum().double()]))
        total, squares, count = sums.tolist()
        mean = total / max(count, 1.0)
        return mean, max(squares / max(count, 1.0) - mean**2, 0.0)

    def gather(self, items: Sequence[T]) -> list[T]:
        """Return the items of all processes to every process, in the order of their ranks."""
        if self.size == 1:
            return list(items)
        parts: list[Any] = [None] * self.size
        dist.all_gather_object(parts, list(items))
        return [item for part in parts for item in part]

    def on_main(self, action: Callable[[], object]) -> None:
        """Call ``action`` in the main process, while the other processes wait.

        Raises:
            CheckpointError: ``action`` failed; the main process raises its own error instead.
        """
        failure: Exception | None = None
        if self.is_main:
            try:
                action()
            except Exception as error:
                failure = error
        # Gathered even without a failure: the others wait here.
        messages = self.gather([] if failure is None else [str(failure)])
        if failure is not None:
            raise failure
        if messages:
            raise CheckpointError(messages[0])

    def agree(self, flag: bool) -> bool:
        """Return to every process whether ``flag`` is True in any process."""
        return bool(self.sum(torch.tensor(float(flag)))) if self.size > 1 else flag

    def close(self) -> None:
        """Leave the group of processes, if this object joined it."""
        if self._began and dist.is_initialized():
            dist.destroy_process_group()
