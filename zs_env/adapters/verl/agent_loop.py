"""The agent loop: one search episode, with the tokens of verl's inference servers."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from zs_env.adapters.verl.config import plain, total_steps
from zs_env.adapters.verl.episodes import task_of
from zs_env.adapters.verl.names import (
    FIGURES,
    HELD_OUT,
    NOISY,
    QUESTION_ID,
    check_version,
)
from zs_env.tokens.rollout import rollout
from zs_env.tokens.trajectory import Trajectory

check_version()

from verl.experimental.agent_loop.agent_loop import (  # noqa: E402  # after its version is checked
    AgentLoopBase,
    AgentLoopMetrics,
    AgentLoopOutput,
)

logger = logging.getLogger(__name__)


class SearchAgentLoop(AgentLoopBase):  # type: ignore[misc]  # untyped where not installed
    """Search episode of one row, made by verl's worker.

    Seed, training step and question fix noise labels and documents, so that the members of a group
    share them on whichever worker they are; the tokens are drawn by the servers. An episode whose
    search failed gives verl nothing: it counts nowhere.

    Args:
        trainer_config: configuration of the run.
        server_manager: client of the inference servers.
        tokenizer: tokenizer of the policy.
        seed: seed of the noise labels and documents.
        arguments: fields of `zs_env.settings.TrainerSettings`.
        others: what else verl gives its agent loops.
    """

    def __init__(
        self,
        trainer_config: Any,
        server_manager: Any,
        tokenizer: Any,
        *,
        seed: int = 0,
        arguments: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> None:
        # Not the constructor of the base class: it sets up chats of messages, which are not used.
        self.config = trainer_config.config
        self.rollout_config = self.config.actor_rollout_ref.rollout
        self.server_manager = server_manager
        self._seed = seed
        self._task = task_of(
            plain(arguments or {}),
            tokenizer,
            self.rollout_config.prompt_length,
            self.rollout_config.response_length,
        )

    async def run(
        self,
        sampling_params: dict[str, Any],
        *,
        extra_info: Mapping[str, Any],
        global_steps: int = 1,
        session_id: int = 0,
        **_: Any,
    ) -> Any:
        """Play the episode of a row.

        Args:
            sampling_params: temperature and so on, as verl wants them.
            extra_info: ``question_id``, and ``held_out`` for an episode of a validation.
            global_steps: training step, from 1; 0 before the first.
            session_id: number of the episode in its group.

        Returns:
            An ``AgentLoopOutput``; an empty list if a search failed.
        """
        held_out, step = bool(extra_info[HELD_OUT]), max(int(global_steps) - 1, 0)
        assignment = self._task.assign(
            extra_info[QUESTION_ID],
            seed=self._seed,
            step=step,
            total_steps=total_steps(self.config),
            member=int(session_id),
            held_out=held_out,
        )
        source = self._task.held_out if held_out else self._task.source
        servers = _Servers(self.server_manager, sampling_params)
        start = time.perf_counter()
        trajectory = await rollout(
            source.begin(assignment), source.engine, servers.generate, self._task.encoder
        )
        seconds = time.perf_counter() - start
        if trajectory.search_failed:
            logger.warning(
                "an episode of question %r is left out because a search failed: %s",
                trajectory.question_id,
                trajectory.info["failure"],
            )
            return []
        trajectory.verify()  # a wrong mask or log-probability would go unnoticed in training
        times = AgentLoopMetrics(
            generate_sequences=servers.seconds, tool_calls=max(seconds - servers.seconds, 0.0)
        )
        extra_fields = {
            FIGURES: self._task.figures(trajectory, held_out=held_out),
            NOISY: [search.noisy for search in trajectory.searches],
            **servers.weights(step),
        }
        return _output(trajectory, times, extra_fields)


class _Servers:
    """Sampler of one episode: a `zs_env.tokens.rollout.Generate` around verl's client."""

    def __init__(self, client: Any, sampling_params: Mapping[str, Any]) -> None:
        self.seconds = 0.0
        self._client = client
        self._sampling_params = dict(sampling_params)
        self._request_id = uuid4().hex  # keeps an episode on the server that has its context
        self._first: list[int | None] = []
        self._last: list[int | None] = []

    async def generate(
        self, token_ids: Sequence[int], stop: Sequence[str], max_tokens: int
    ) -> tuple[list[int], list[float]]:
        """Continue ``token_ids``."""
        start = time.perf_counter()
        output = await self._client.generate(
            request_id=self._request_id,
            prompt_ids=list(token_ids),
            sampling_params={
                **self._sampling_params,
                "stop": list(stop),
                "include_stop_str_in_output": True,
                "max_tokens": max_tokens,
            },
        )
        self.seconds += time.perf_counter() - start
        self._first.append(output.extra_fields.get("min_global_steps"))
        self._last.append(output.extra_fields.get("max_global_steps"))
        return output.token_ids, output.log_probs or []

    def weights(self, step: int) -> dict[str, int]:
        """Return of which training steps the oldest and the newest weights are.

        Args:
            step: training step of the weights, if the servers do not tell.
        """
        return {
            "min_global_steps": min(step if each is None else each for each in self._first),
            "max_global_steps": max(step if each is None else each for each in self._last),
        }


def _output(trajectory: Trajectory, times: Any, extra_fields: dict[str, Any]) -> Any:
    prompt_ids, response_ids, response_mask, log_probs = trajectory.split()
    return AgentLoopOutput(
        prompt_ids=prompt_ids.tolist(),
        response_ids=response_ids.tolist(),
        response_mask=response_mask.astype(int).tolist(),
        response_logprobs=log_probs.tolist(),
        reward_score=trajectory.reward,
        num_turns=trajectory.num_turns,
        metrics=times,
        extra_fields=extra_fields,
    )
