"""Small runs of verl's agent-loop worker on the bundled policy, for its tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.tiny import MODEL
from benchmarks.verl_queue import compose_config, put_rows

EPISODES = {
    "questions": "world,kinds=1-hop+2-hop,sample=60",
    "top_k": 2,
    "document_words": 12,
    "max_turns": 3,
    "max_turn_tokens": 32,
}
"""Arguments of the adapter that suit the bundled policy."""

Generate = Callable[..., Awaitable[tuple[Sequence[int], Sequence[float]]]]


def prepare_run(folder: Path, **options: Any) -> Path:
    """Write the files of a run, and return its configuration."""
    from zs_env.adapters.verl import prepare

    lengths = {"max_prompt_length": 704, "max_response_length": 320}
    return prepare(folder, str(MODEL), **{**lengths, "seed": 7, **EPISODES, **options})


def load_config(path: Path, **options: Any) -> Any:
    """Read the configuration at ``path`` as ``main_ppo`` does, with options by dotted names."""
    defaults = {"actor_rollout_ref.rollout.n": 5, "trainer.total_training_steps": 10}
    return compose_config(path, {**defaults, **options})


class Client:
    """Client of an inference server that is a function in this process."""

    def __init__(self, generate: Generate) -> None:
        self._generate = generate

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any]
    ) -> Any:
        """Continue ``prompt_ids``."""
        from verl.workers.rollout.replica import TokenOutput

        token_ids, log_probs = await self._generate(prompt_ids, sampling_params)
        fields = {"global_steps": 3, "min_global_steps": 3, "max_global_steps": 3}
        return TokenOutput(token_ids=token_ids, log_probs=log_probs, extra_fields=fields)


def scripted(policy: Any) -> Client:
    """A client of a `zs_env.testing.ScriptedPolicy`."""

    async def generate(
        token_ids: Sequence[int], params: Mapping[str, Any]
    ) -> tuple[list[int], list[float]]:
        written: tuple[list[int], list[float]] = policy.sample_one(token_ids, params["max_tokens"])
        return written

    return Client(generate)


def make_dataset(config: Any, tokenizer: Any, *, held_out: bool) -> dict[str, Any]:
    """Return verl's rows by the id of their question."""
    from verl.trainer.ppo.utils import create_rl_dataset

    files = config.data.val_files if held_out else config.data.train_files
    dataset = create_rl_dataset(files, config.data, tokenizer, None)
    return {row["extra_info"]["question_id"]: row for row in dataset}


def play(
    config: Any,
    client: Client,
    question_ids: Sequence[str],
    *,
    step: int = 1,
    held_out: bool = False,
) -> list[list[dict[str, Any] | None]]:
    """Have verl's own worker play a group for each question, without Ray.

    Returns:
        For each question, what each member gives the trainer, as tensors; None for nothing.
    """
    from verl.experimental.agent_loop import AgentLoopWorker

    class Worker(AgentLoopWorker):  # type: ignore[misc]
        """Worker that returns what it would put into the transfer queue."""

        async def _agent_loop_postprocess(self, output: Any, validate: bool, **_: Any) -> Any:
            return output.as_dict() if output else None

    worker = Worker(config, client)
    rows = make_dataset(config, worker.tokenizer, held_out=held_out)
    rollout = config.actor_rollout_ref.rollout
    params = {"temperature": 1.0, "top_p": 1, "top_k": -1, "logprobs": True}
    place = {"step": step, "sample_index": 0, "rollout_n": 0, "validate": held_out}

    async def run() -> list[Any]:
        return await asyncio.gather(
            *(
                worker._run_agent_loop(
                    params, place, trace=False, session_id=member, global_steps=step, **rows[each]
                )
                for each in question_ids
                for member in range(rollout.n)
            )
        )

    outputs = asyncio.run(run())
    return [outputs[first : first + rollout.n] for first in range(0, len(outputs), rollout.n)]


def play_in_queue(
    config: Any,
    client: Client,
    question_ids: Sequence[str],
    *,
    step: int = 1,
    held_out: bool = False,
) -> list[str]:
    """Have the worker of verl's trainer play groups into the transfer queue; return their uids."""
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

    worker = AgentLoopWorkerTQ.__ray_actor_class__(config, client)
    rows = make_dataset(config, worker.tokenizer, held_out=held_out)
    tensors, uids = put_rows([rows[each] for each in question_ids], step, held_out=held_out)

    async def run() -> None:
        await worker.generate_sequences(tensors)
        await asyncio.gather(*worker.background_tasks)

    asyncio.run(run())
    return uids
