"""What the adapter reads in the configuration of a run, and what can be wrong about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zs_env.adapters.verl.names import AGENT_LOOP

UNTRIED = ("sglang", "trtllm")
"""Inference servers that do not stop at a text, or were not tried."""


class Entry(NamedTuple):
    """Entry of the agent loop in its YAML.

    Attributes:
        name: name by which rows ask for it.
        arguments: fields of `zs_env.settings.TrainerSettings`.
    """

    name: str
    arguments: dict[str, Any]


def plain(arguments: Any) -> Any:
    """Return ``arguments`` without the types of OmegaConf."""
    from omegaconf import OmegaConf

    if OmegaConf.is_config(arguments):
        return OmegaConf.to_container(arguments, resolve=True)
    return dict(arguments)


def total_steps(config: Any) -> int | None:
    """Return the number of training steps of a run; None if the configuration does not tell.

    Without ``trainer.total_training_steps``, verl counts the steps of its epochs, and notes them
    for its optimizers.
    """
    from omegaconf import OmegaConf

    steps = OmegaConf.select(config, "trainer.total_training_steps")
    if steps is None:
        mode = OmegaConf.select(config, "trainer.v1.trainer_mode", default="sync")
        updates = OmegaConf.select(config, f"trainer.v1.{mode}.parameter_sync_step", default=1)
        found = OmegaConf.select(config, "actor_rollout_ref.actor.optim.total_training_steps")
        steps = (found or 0) // (updates or 1)
    return int(steps) if steps and steps > 0 else None


def find_entry(config: Any) -> Entry:
    """Return the entry of the agent loop.

    Raises:
        ValueError: there is none; the message says where it belongs.
    """
    from omegaconf import OmegaConf
    from verl.utils.import_utils import resolve_config_path

    key = "actor_rollout_ref.rollout.agent.agent_loop_config_path"
    path = OmegaConf.select(config, key)
    if not path:
        raise ValueError(
            f"`{key}` must name the agent_loop.yaml that zs_env.adapters.verl.prepare wrote, got "
            f"{path!r}: without it, verl plays no search episodes."
        )
    entries = OmegaConf.load(resolve_config_path(path))
    for entry in entries:
        if entry.get("_target_") == AGENT_LOOP:
            return Entry(entry.name, plain(entry.get("arguments") or {}))
    raise ValueError(
        f"expected an entry with `_target_: {AGENT_LOOP}` in {path}, got "
        f"{[entry.get('_target_') for entry in entries]}: write it with "
        "zs_env.adapters.verl.prepare."
    )


def check_config(config: Any) -> None:
    """Check the options of verl that search episodes depend on.

    Raises:
        ValueError: one does not go with them.
    """
    rollout = config.actor_rollout_ref.rollout
    if not config.trainer.get("use_v1", True):
        raise ValueError(
            "`trainer.use_v1` must be True, got False: the earlier trainer of verl needs batches "
            "of one size, from which no failed search can be left out."
        )
    if not rollout.calculate_log_probs:
        raise ValueError(
            "`actor_rollout_ref.rollout.calculate_log_probs` must be True, got False: each token "
            "is kept with its log-probability."
        )
    if rollout.name in UNTRIED:
        raise ValueError(
            f"`actor_rollout_ref.rollout.name` must be vllm, got {rollout.name}: its servers are "
            "not asked to stop at a text, and a turn ends at a tag."
        )
    find_entry(config)


def check_rows(task: Any, files: Any, *, held_out: bool) -> None:
    """Check that each row of verl's data sets names a question; only ``.parquet`` is read.

    Args:
        task: episodes of the run.
        files: path or paths, as in ``data.train_files``.
        held_out: whether they are those of validations.

    Raises:
        ValueError: a row names none, or is meant for the other data set.
    """
    import pyarrow.parquet as pq

    from zs_env.adapters.verl.names import HELD_OUT, QUESTION_ID

    for file in [files] if isinstance(files, str) else list(files or ()):
        if not (str(file).endswith(".parquet") and Path(file).expanduser().is_file()):
            continue
        path = Path(file).expanduser()
        if "extra_info" not in pq.read_schema(path).names:
            raise ValueError(_wrong_row(file, "no column `extra_info`"))
        for info in pq.read_table(path, columns=["extra_info"])["extra_info"].to_pylist():
            if not isinstance(info, Mapping) or info.get(HELD_OUT) is not held_out:
                raise ValueError(
                    _wrong_row(file, f"{info!r}, without `{HELD_OUT}: {str(held_out).lower()}`")
                )
            task.check_ids([info.get(QUESTION_ID)], held_out=held_out)


def _wrong_row(file: Any, found: str) -> str:
    return (
        f"expected rows whose `extra_info` holds the id of a question in {file}, got {found}: make "
        "the data set with zs_env.adapters.verl.prepare."
    )
