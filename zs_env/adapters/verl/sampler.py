"""The batches of verl's trainer, with the figures of their episodes for its log."""

from __future__ import annotations

from typing import Any

from zs_env.adapters.task import PREFIX, metrics
from zs_env.adapters.verl.names import FIGURES, check_version

check_version()

import transfer_queue  # noqa: E402  # after the version of verl is checked
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync  # noqa: E402


def make_sampler(*, trainer_mode: str, sampler_kwargs: Any, **others: Any) -> Any:
    """Return verl's own sampler for ``trainer_mode``, which also logs what was played.

    verl is given it as ``trainer.v1.sampler.custom_sampler``. Its batches are as before.

    Args:
        trainer_mode: ``sync`` or another mode of the trainer.
        sampler_kwargs: ``rollout_n``, the number of episodes for each question.
        others: what else the sampler takes.
    """
    base = ReplayBuffer if trainer_mode == "sync" else ReplayBufferAsync
    group_size = int(sampler_kwargs.rollout_n)

    class SearchSampler(base):  # type: ignore[misc, valid-type]  # untyped where not installed
        """Sampler that adds figures to what verl logs of a training batch."""

        def sample(
            self, global_steps: int, partition_id: str, batch_size: int
        ) -> tuple[Any, dict[str, Any]]:
            """Return a batch, and what to log of it."""
            batch, log = super().sample(global_steps, partition_id, batch_size)
            if partition_id == "train":
                log = {**log, **_figures(batch, batch_size * group_size)}
            return batch, log

    return SearchSampler(trainer_mode=trainer_mode, sampler_kwargs=sampler_kwargs, **others)


def _figures(batch: Any, num_asked: int) -> dict[str, float]:
    """Return means over the episodes of ``batch``, and how many of ``num_asked`` are missing."""
    episodes = []
    if len(batch.keys):
        fields = transfer_queue.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_fields"]
        )
        episodes = [extra[FIGURES] for extra in fields.get("extra_fields").tolist()]
    missing = float(num_asked - len(batch.keys))
    return {**metrics(episodes), f"{PREFIX}failed_searches": missing}
