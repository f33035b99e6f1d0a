"""Checkpoints, which are written completely or not at all, as safetensors and JSON."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from agents.sampling.policy import ADAPTERS, Policy
from agents.tiny import BUNDLED
from agents.training.errors import CheckpointError
from zs_env.errors import MissingDependencyError
from zs_env.evaluation.labels import label_of
from zs_env.evaluation.models import write_options
from zs_env.loading import parse_spec
from zs_env.question_sources import are_about_the_world

STATE, CRITIC, OPTIMIZER = "trainer.json", "critic.safetensors", "optimizer.safetensors"
PLAYED_WITH = (
    "max_turns", "top_k", "document_words", "max_turn_tokens", "max_context", "prompt_template",
    "policy_prompt", "chat_template", "system_prompt", "chat_template_kwargs",
)  # fmt: skip
"""Options of a run that evaluation needs, besides the weights."""

CHECKPOINT_NAME = re.compile("[0-9]{6}|[1-9][0-9]{6,}")
"""Names of checkpoints: six digits, or more from 1000000 on; copies have other names."""


def save_checkpoint(
    folder: Path,
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    keep: int,
) -> Path:
    """Write ``folder/<update>``: model, tokenizer, value head, optimizer, ``state``.

    What evaluation needs to know of ``state["config"]`` stands in a file of its own.

    Older checkpoints beyond the last ``keep`` are removed.

    Args:
        folder: folder of the checkpoints.
        policy: policy to save, with its tokenizer and value head.
        optimizer: optimizer to save, with its moments and step counts.
        state: everything else, JSON-able; ``state["update"]`` names the checkpoint.
        keep: number of checkpoints to keep.

    Returns:
        Folder of the checkpoint.

    Raises:
        CheckpointError: the checkpoint cannot be written, for instance on a full disk; nothing of
            it is left behind.
    """

    def fill(temporary: Path) -> None:
        bundled = save_pretrained(temporary, policy.model, policy.tokenizer)
        if policy.value_head is not None:
            save_file(policy.value_head.state_dict(), temporary / CRITIC)
        groups = save_optimizer(temporary, optimizer)
        (temporary / STATE).write_text(json.dumps({**state, "optimizer": groups}, indent=1))
        config = state["config"]
        played_with = {name: config[name] for name in PLAYED_WITH}
        base = str(BUNDLED[bundled]) if bundled else None
        write_options(temporary, played_with, questions=questions_tested_on(config), base=base)

    return write_checkpoint(folder, state["update"], fill, keep)


def write_checkpoint(folder: Path, number: int, fill: Callable[[Path], None], keep: int) -> Path:
    """Write ``folder/<number>``, completely or not at all, and remove checkpoints beyond ``keep``.

    Args:
        folder: folder of the checkpoints.
        number: number of the update, or step.
        fill: function that writes the files into the folder that it is given.
        keep: number of checkpoints to keep.

    Returns:
        Folder of the checkpoint.

    Raises:
        CheckpointError: the checkpoint cannot be written; nothing of it is left behind.
    """
    target = folder / f"{number:06d}"
    try:
        replace_folder(target, fill)
    except (OSError, SafetensorError) as error:
        kept = last_checkpoint(folder)
        raise CheckpointError(
            f"checkpoint {target} could not be written: {error}. "
            + (f"The last one is {kept}." if kept else "There is none before it.")
            + " Free some space and use --resume."
        ) from error
    for old in _checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def replace_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Replace the folder ``target`` by one that ``fill`` writes, completely or not at all."""
    # Written under another name, synced, and renamed: a folder of the right name is complete, even
    # if the process or the machine stops at any time.
    temporary = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        fill(temporary)
        _force_to_disk(temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        _sync(target.parent)
    except (OSError, SafetensorError):
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def save_pretrained(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> str | None:
    """Save model, or adapters, and tokenizer.

    Returns:
        Name of the bundled model that the adapters are of, or None.
    """
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return _name_bundled_base(folder / ADAPTERS)


def save_optimizer(
    folder: Path, optimizer: torch.optim.Optimizer, name: str = OPTIMIZER
) -> list[dict[str, Any]]:
    """Save the moments and step counts of ``optimizer``; return its settings, JSON-able."""
    tensors, groups = _flatten(optimizer)
    save_file(tensors, folder / name)
    return groups


def questions_tested_on(config: Mapping[str, Any]) -> str:
    """Return the questions that a run is tested on, with the world that they are about.

    Args:
        config: options of the run, as JSON has them.
    """
    questions = str(config["test_questions"])
    if not are_about_the_world(questions):
        return questions
    name, options = parse_spec("questions", questions)
    defaults = {"world_seed": 0, "world_size": "small"}
    added = {n: config[n] for n, default in defaults.items() if config[n] != default}
    added = {n: value for n, value in added.items() if n not in options}
    return label_of("questions", {"name": name, **options, **added}) if added else questions


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in ``folder``, or None.

    Only folders named by `CHECKPOINT_NAME` are checkpoints: a copy or a renamed one is neither
    resumed from nor removed.
    """
    return next(reversed(_checkpoints(folder)), None)


@contextmanager
def reading(checkpoint: Path) -> Iterator[None]:
    """Turn any error from reading ``checkpoint`` into a CheckpointError.

    Its message names the damaged file, and an older checkpoint that is intact, if there is one.
    """
    try:
        yield
    except (CheckpointError, MissingDependencyError):
        raise
    except Exception as error:  # libraries raise errors of many types for damaged files
        reason = _damage(checkpoint) or f"{type(error).__name__}: {error}"
        message = f"checkpoint {checkpoint} cannot be read: {reason}."
        intact = next((each for each in _older(checkpoint) if _damage(each) is None), None)
        if intact is not None:
            message += f" {intact} is intact: remove the newer ones to go on from there."
        raise CheckpointError(message) from error


def load_state(checkpoint: Path) -> dict[str, Any]:
    """Return the ``state`` that was given to `save_checkpoint`.

    Raises:
        CheckpointError: the folder is no checkpoint of a training run, or is damaged.
    """
    if not (checkpoint / STATE).is_file():
        raise CheckpointError(f"{checkpoint} is no checkpoint of a run: it has no {STATE}.")
    with reading(checkpoint):
        state: dict[str, Any] = json.loads((checkpoint / STATE).read_text())
    return state


def load_critic(checkpoint: Path, policy: Policy) -> None:
    """Load the saved weights of the value head into ``policy``, if it has one."""
    if policy.value_head is not None:
        policy.value_head.load_state_dict(load_file(checkpoint / CRITIC))


def load_optimizer(
    checkpoint: Path,
    optimizer: torch.optim.Optimizer,
    groups: list[dict[str, Any]],
    name: str = OPTIMIZER,
) -> None:
    """Load the saved moments and step counts into ``optimizer``.

    Args:
        checkpoint: folder of the checkpoint.
        optimizer: optimizer to restore.
        groups: settings of the optimizer, ``load_state(checkpoint)["optimizer"]``.
        name: name of the file.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for place, tensor in load_file(checkpoint / name).items():
        number, key = place.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return the tensors of an optimizer, by parameter number and key, and its settings."""
    saved = optimizer.state_dict()
    tensors = {
        f"{number}.{key}": value.contiguous()
        for number, values in saved["state"].items()
        for key, value in values.items()
    }
    return tensors, saved["param_groups"]


def _name_bundled_base(config: Path) -> str | None:
    """Make adapters of a bundled model refer to it by name, so that the checkout can be moved.

    Returns:
        Its name, or None if these are not adapters of one.
    """
    options = json.loads(config.read_text()) if config.is_file() else {}
    base = options.get("base_model_name_or_path")
    name = next((name for name, path in BUNDLED.items() if base in (name, str(path))), None)
    if name is not None:
        config.write_text(json.dumps({**options, "base_model_name_or_path": name}, indent=2))
    return name


def _damage(checkpoint: Path) -> str | None:
    """Return what is wrong with the first file of ``checkpoint`` that cannot be read, or None."""
    names = {path.name for path in checkpoint.iterdir()}
    if not any("model" in name and name.endswith(".safetensors") for name in names):
        return f"{checkpoint / 'model.safetensors'} is missing"
    for name in sorted(names | {STATE, OPTIMIZER}):
        path = checkpoint / name
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".safetensors":
                load_file(path)
        except (OSError, ValueError, SafetensorError) as error:
            return f"{path} is damaged: {error}"
    return None


def _older(checkpoint: Path) -> list[Path]:
    """Return the checkpoints in the same folder that are older, the newest first."""
    found = _checkpoints(checkpoint.parent)
    return found[: found.index(checkpoint)][::-1] if checkpoint in found else []


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in ``folder``, the oldest first."""
    found = [path for path in folder.glob("[0-9]*") if CHECKPOINT_NAME.fullmatch(path.name)]
    return sorted((path for path in found if path.is_dir()), key=lambda path: int(path.name))


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
