"""Checkpoints that are there whole or not at all, as safetensors and JSON."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from agents.sampling.policy import Policy
from agents.training.errors import CheckpointError

STATE, CRITIC, OPTIMIZER = "trainer.json", "critic.safetensors", "optimizer.safetensors"


def save_checkpoint(
    folder: Path,
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    keep: int,
) -> Path:
    """Write ``folder/<update>``: model, tokenizer, value head, optimizer, ``state``.

    It is written under another name, forced to the disk, and renamed: whatever happens, a folder
    of the right name is whole. Older checkpoints beyond the last ``keep`` are removed.

    Args:
        folder: where checkpoints are.
        policy: what to save.
        optimizer: its moments and step counts.
        state: everything else, JSON-able; ``state["update"]`` names the checkpoint.
        keep: how many checkpoints to keep.

    Raises:
        CheckpointError: it cannot be written, as on a full disk; nothing of it is left behind.
    """
    target = folder / f"{state['update']:06d}"
    temporary = folder / f".{target.name}.partial"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        policy.model.save_pretrained(temporary)
        policy.tokenizer.save_pretrained(temporary)
        if policy.value_head is not None:
            save_file(policy.value_head.state_dict(), temporary / CRITIC)
        tensors, groups = _flatten(optimizer)
        save_file(tensors, temporary / OPTIMIZER)
        (temporary / STATE).write_text(json.dumps({**state, "optimizer": groups}, indent=1))
        _force_to_disk(temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        kept = last_checkpoint(folder)
        raise CheckpointError(
            f"checkpoint {target} could not be written: {error}. "
            + (f"The last one is {kept}." if kept else "There is none before it.")
            + " Free some space and use --resume."
        ) from error
    for old in _checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in ``folder``, or None."""
    return max(_checkpoints(folder), default=None)


def load_state(checkpoint: Path) -> dict[str, Any]:
    """What `save_checkpoint` was given as ``state``.

    Raises:
        CheckpointError: the folder is no checkpoint of a training run.
    """
    try:
        state: dict[str, Any] = json.loads((checkpoint / STATE).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint} is no checkpoint of a run: {error}") from None
    return state


def load_critic(checkpoint: Path, policy: Policy) -> None:
    """Give the value head of ``policy`` the saved weights."""
    if policy.value_head is not None:
        policy.value_head.load_state_dict(load_file(checkpoint / CRITIC))


def load_optimizer(
    checkpoint: Path, optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]]
) -> None:
    """Give ``optimizer`` the saved moments and step counts, and ``groups``, its settings.

    The settings are those of the checkpoint's state, ``load_state(checkpoint)["optimizer"]``.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in load_file(checkpoint / OPTIMIZER).items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The tensors of an optimizer by name, and its settings."""
    saved = optimizer.state_dict()
    tensors = {
        f"{number}.{key}": value.contiguous()
        for number, values in saved["state"].items()
        for key, value in values.items()
    }
    return tensors, saved["param_groups"]


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def _force_to_disk(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
