"""CPUs as a platform of verl. Ray is told of GPUs that do not exist, one for each worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from verl.plugin.platform.platform_base import PlatformBase


class Device:
    """What verl asks ``torch.cuda`` for, of a CPU: there is nothing to wait for or to free."""

    set_rng_state = staticmethod(torch.set_rng_state)
    get_rng_state = staticmethod(torch.get_rng_state)
    stream = staticmethod(torch.cpu.stream)
    current_stream = staticmethod(torch.cpu.current_stream)

    def is_available(self) -> bool:
        """Return False: there is no memory of its own."""
        return False

    def device_count(self) -> int:
        """Return 1."""
        return 1

    def get_device_name(self, _: Any = None) -> str:
        """Return the name."""
        return "cpu"

    def mem_get_info(self, _: Any = None) -> tuple[int, int]:
        """Return free and whole memory, which are not known."""
        return 1, 1

    def __getattr__(self, name: str) -> Callable[..., int]:
        """Return a function that does nothing: `empty_cache`, `synchronize`, `memory_allocated`."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_, **__: 0


class PlatformCPU(PlatformBase):  # type: ignore[misc]  # untyped where not installed
    """Platform whose only device is the CPU, with gloo between processes."""

    device_name = "cpu"
    vendor_name = "cpu"

    @property
    def device_module(self) -> Any:
        """Return the module of the device."""
        return Device()

    def is_available(self) -> bool:
        """Return True."""
        return True

    def current_device(self) -> Any:
        """Return what tensors are moved to."""
        return "cpu"

    def device_count(self) -> int:
        """Return 1."""
        return 1

    def set_device(self, device_index: int) -> None:
        """Do nothing: there is one device."""

    def synchronize(self, device_index: int | None = None) -> None:
        """Do nothing: nothing runs behind."""

    def manual_seed(self, seed: int) -> None:
        """Seed the random numbers."""
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        """Seed the random numbers."""
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """Do nothing."""

    def empty_cache(self) -> None:
        """Do nothing."""

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        """Return that it has none."""
        return None, None

    def communication_backend_name(self) -> str:
        """Return gloo."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """Return what Ray sets for its fictitious GPUs."""
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """Do nothing."""
        yield

    def profiler_start(self) -> None:
        """Do nothing."""

    def profiler_stop(self) -> None:
        """Do nothing."""

    def ray_resource_name(self) -> str:
        """Return the resource that Ray hands out."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """Return none."""
        return []

    def is_ipc_supported(self) -> bool:
        """Return False."""
        return False

    def cudart(self) -> None:
        """Return that there is none."""
