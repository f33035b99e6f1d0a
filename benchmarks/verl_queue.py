"""The ends of verl's transfer queue, as its trainer holds them: for its benchmarks and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np


def compose_config(path: Path, options: Mapping[str, Any]) -> Any:
    """Read the configuration at ``path`` as ``main_ppo`` does, with options by dotted names."""
    from hydra import compose, initialize_config_dir

    overrides = [f"{name}={value}" for name, value in options.items()]
    with initialize_config_dir(str(path.parent), version_base=None):
        return compose(path.stem, ["hydra.searchpath=[pkg://verl.trainer.config]", *overrides])


def put_rows(
    rows: Sequence[Mapping[str, Any]], step: int, *, held_out: bool = False
) -> tuple[Any, list[str]]:
    """Announce a group of episodes for each row; return what the workers get, and the uids."""
    import transfer_queue as tq
    from verl.utils import tensordict_utils as tu
    from verl.utils.dataset.rl_dataset import collate_fn

    batch = collate_fn(list(rows))
    uids = [uuid4().hex for _ in rows]
    batch["uid"] = np.array(uids, dtype=object)
    tensors = tu.get_tensordict(batch)
    tu.assign_non_tensor_data(tensors, "global_steps", step)
    if held_out:
        tu.assign_non_tensor_data(tensors, "validate", True)
    tags = [{"is_prompt": True, "status": "pending", "global_steps": step}] * len(uids)
    tq.kv_batch_put(keys=uids, partition_id="val" if held_out else "train", tags=tags)
    return tensors, uids


def make_batches(config: Any, poll_interval: float) -> Any:
    """Return the sampler that gives the trainer its batches."""
    from zs_env.adapters.verl.sampler import make_sampler

    options = config.trainer.v1.sampler
    return make_sampler(
        trainer_mode="sync",
        trainer_config=config.trainer.v1.sync,
        max_off_policy_threshold=options.max_off_policy_threshold,
        max_off_policy_strategy=options.max_off_policy_strategy,
        sampler_kwargs=options.sampler_kwargs,
        poll_interval=poll_interval,
    )


def fetch(keys: Sequence[str], partition: str) -> list[Any]:
    """Return episodes as the trainer gets them."""
    import transfer_queue as tq

    rows = tq.kv_batch_get(keys=list(keys), partition_id=partition)
    return [rows[number] for number in range(len(keys))]
