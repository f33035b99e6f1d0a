"""The manager of verl's agent loops, which checks a run on each machine before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zs_env.adapters.verl.config import check_config, check_rows, find_entry
from zs_env.adapters.verl.episodes import task_of, what_is_wrong
from zs_env.adapters.verl.names import check_version
from zs_env.errors import ZeroSearchError

check_version()

import ray  # noqa: E402  # after the version of verl is checked
from verl.trainer.ppo.v1 import AgentLoopManagerTQ  # noqa: E402


class SearchAgentLoopManager(AgentLoopManagerTQ):  # type: ignore[misc]  # untyped if not installed
    """Manager of agent loops that play search episodes.

    verl counts an error in an episode as a failed one and goes on; so what would make all of them
    fail is looked for first: the options of the run, its rows, and on each machine the questions,
    the engine and the tokenizer.
    """

    async def _init_agent_loop_workers(self) -> None:
        check_run(self.config)
        await super()._init_agent_loop_workers()


def check_run(config: Any) -> None:
    """Check a run of verl, here and on each machine of its cluster.

    Raises:
        ValueError: an option, a row or a question does not go with search episodes.
        ZeroSearchError: questions, engine or tokenizer cannot be used, here or on a machine that
            the message names.
    """
    from verl.utils.config import omega_conf_to_dataclass

    check_config(config)
    rollout = config.actor_rollout_ref.rollout
    tokenizer = omega_conf_to_dataclass(config.actor_rollout_ref.model).tokenizer
    parts = (
        find_entry(config).arguments,
        tokenizer,
        rollout.prompt_length,
        rollout.response_length,
    )
    task = task_of(*parts)
    check_rows(task, config.data.train_files, held_out=False)
    check_rows(task, config.data.val_files, held_out=True)
    check_machines(*parts)


def check_machines(
    arguments: Mapping[str, Any], tokenizer: Any, prompt_length: int, response_length: int
) -> None:
    """Check on each machine of the cluster that its workers can make the episodes.

    Raises:
        ZeroSearchError: one cannot; the message names it.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    check = ray.remote(num_cpus=0, max_retries=0)(what_is_wrong)
    parts = (dict(arguments), tokenizer, prompt_length, response_length)
    answers = [
        (
            f"{node['NodeManagerAddress']} (node {node['NodeID'][:8]})",
            check.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(*parts),
        )
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0
    ]
    for machine, answer in answers:
        if problem := ray.get(answer):
            raise ZeroSearchError(
                f"the workers on {machine} cannot play search episodes: {problem}"
            )
