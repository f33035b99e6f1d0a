"""Check that a checkpoint belongs to a run with the present options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Protocol

from agents.training.errors import CheckpointError
from zs_env.hidden import without_secrets

MAY_CHANGE = (
    "folder resume device save_every keep_checkpoints sampler_url sampler_folder sampler_memory "
    "sampler_tolerance sampler_timeout_s policy_prompt"
).split()
"""Options that may change when a run is resumed; the prompt is then the saved one."""


class Options(Protocol):
    """Options of a run: a dataclass."""

    @property
    def folder(self) -> Path:
        """Folder of the run."""

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON types."""


def check_options(config: Options, saved: Mapping[str, Any]) -> list[str]:
    """Compare the options of a resumed run with those that it began with.

    Options that were added since count as their defaults.

    Args:
        config: present options.
        saved: options of the checkpoint, as JSON types.

    Returns:
        Options of the checkpoint that no longer exist, as ``name=value``.

    Raises:
        CheckpointError: options differ; the message says which.
    """
    now = config.to_json()
    before = {**default_options(type(config)), **saved}
    changed = [n for n in now if n not in MAY_CHANGE and now[n] != before.get(n)]
    if changed:
        was, given = without_secrets(before), without_secrets(now)
        differences = ", ".join(
            f"{n} was {was.get(n)!r}{'' if n in saved else ' (the default; it is new)'}, "
            f"is {given[n]!r}"
            for n in changed
        )
        raise CheckpointError(
            f"{config.folder} was begun with other options: {differences}. Resume with the same, "
            "or choose another --folder."
        )
    return [f"{name}={value!r}" for name, value in saved.items() if name not in now]


def default_options(kind: type[Any]) -> dict[str, Any]:
    """Return the defaults of a class of options as JSON types."""
    defaults = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
    made = {f.name: f.default_factory() for f in fields(kind) if f.default_factory is not MISSING}
    as_json: dict[str, Any] = json.loads(json.dumps(defaults | made, default=str))
    return as_json
