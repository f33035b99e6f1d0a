"""Everything around an algorithm: episodes, metrics, checkpoints, evaluation, stopping.

An algorithm is a loop over `Run.updates`::

    with Run(config) as run:
        for update in run.updates():
            batch = run.play(update)
            ...  # advantages
            run.learn(batch, loss_function)
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from agents.objectives.importance import truncated_weights
from agents.sampling.policy import Policy, add_adapters, load_policy
from agents.training import checkpoint as checkpoints
from agents.training.batch import Batch, TrainingBatch
from agents.training.collect import Collector
from agents.training.config import Config
from agents.training.display import line_of
from agents.training.errors import TrainingError
from agents.training.evaluation import Evaluator
from agents.training.folder_run import FolderRun
from agents.training.learner import Learner, LossFunction
from agents.training.memory import explain_memory, recompute_activations
from agents.training.metrics import TIMING, Metrics
from agents.training.report import comparison, write_report
from agents.training.samplers import make_samplers


class Run(FolderRun[Config]):
    """Training run and its folder, to be used as a context manager.

    Args:
        config: options of the run.
        with_values: whether the policy gets a value head.

    Raises:
        ValueError: options, model, questions or engine are wrong; before any work is done.
        CheckpointError: the folder holds a run that is not to be resumed, or one with other
            options; a file in it is damaged; or another run writes to it.

    Attributes:
        policy: policy that is trained.
        learner: learner, which takes the gradient steps.
        collector: collector, which plays the episodes.
        samplers: sampler of the policy's tokens.
        processes: processes that take part.
        updates_done: number of updates done, those before the checkpoint included.
        metrics: metrics of the present update.
        memory: values that an algorithm keeps from update to update, JSON-able; checkpoints
            hold them.
    """

    def __init__(self, config: Config, *, with_values: bool = False) -> None:
        super().__init__(config)
        config.check_division(self.processes.size)
        self.memory: dict[str, Any] = {}
        with explain_memory():
            self.policy = self._load_policy(with_values)
        self.config = config = config.keep_prompt(self.policy, self._saved.get("config", {}))
        self.learner = Learner(self.policy, config, self.processes)
        self.samplers = make_samplers(config, self.policy, self.processes)
        self._evaluator = Evaluator(self.learner, self.samplers)
        self._has_changed = True  # since the weights were last given to the sampler
        self.collector = Collector(self.learner, self._load_reference(), self.samplers)
        self.total = config.updates
        self.num_done = self._restore()

    @property
    def updates_done(self) -> int:
        """Number of updates done, those before the checkpoint included."""
        return self.num_done

    def updates(self) -> Iterator[int]:
        """Yield the number of each update, from 0; in between, write metrics and checkpoints."""
        for update in self.iterations():
            start = time.perf_counter()
            self.metrics = {"update": update + 1}
            yield update
            self.metrics[TIMING + "update"] = time.perf_counter() - start
        if self._log is not None:
            self._say("\n".join(comparison(self._log.written, self.config.to_json())))
            self._say(f"report: {self.config.folder / 'report.md'}")

    def play(self, update: int) -> Batch:
        """Play this process's share of the episodes of ``update``, and score their tokens.

        Returns:
            The episodes without those whose search failed.
        """
        with explain_memory():
            self._ready_sampler()
            batch, metrics = self.collector.collect(update)
        self.metrics |= metrics
        return batch

    def learn(self, batch: TrainingBatch, loss_function: LossFunction) -> None:
        """Take the gradient steps of this update on ``batch``; see `Learner.learn`."""
        start = time.perf_counter()
        if self.config.importance_cap:
            batch = self._weighted(batch)
        self._has_changed = True
        with explain_memory():
            self.metrics |= self.learner.learn(batch, loss_function, self.updates_done)
        self.metrics[TIMING + "learn"] = time.perf_counter() - start

    def note(self, name: str, value: float) -> None:
        """Add the figure ``name`` to the metrics of this update: the mean over processes."""
        self.metrics[name] = self.processes.mean(value)

    def _before_first(self) -> None:
        self.metrics = {"update": 0}
        self._evaluate()
        self._write_metrics()

    def _after_iteration(self, is_last: bool) -> None:
        self._check_drift()  # before the checkpoint is written
        if is_last or self.updates_done % self.config.evaluate_every == 0:
            self._evaluate()
        self._write_metrics()

    def _ready(self, stack: ExitStack) -> None:
        stack.callback(self.samplers.close)
        self.samplers.start()

    def _close(self) -> None:
        self.learner.close()

    def _describe(self, metrics: Metrics) -> str:
        return line_of(metrics)

    def _write_report(self) -> None:
        write_report(self.config.folder)

    def _load_policy(self, with_values: bool) -> Policy:
        config = self.config
        load = partial(load_policy, with_values=with_values, temperature=config.temperature)
        if self.checkpoint is not None:
            with checkpoints.reading(self.checkpoint):
                policy = load(self.checkpoint)
        else:
            policy = load(config.model)
            if config.lora_rank:
                policy.model = add_adapters(policy.model, config.lora_rank)
        if config.gradient_checkpointing:
            recompute_activations(policy.model)
        return policy.to(self.processes.device)

    def _load_reference(self) -> Policy | None:
        """Return the policy that training began with, if the KL divergence from it is used."""
        if self.config.kl_coef == 0.0:
            return None
        if self.checkpoint is not None:
            reference = load_policy(self.config.model, temperature=self.config.temperature)
        else:
            reference = copy.deepcopy(self.policy)
        return reference.to(self.processes.device).requires_grad_(False)

    def _restore(self) -> int:
        """Restore the state of the checkpoint; return its number of updates, 0 without one."""
        if self.checkpoint is None:
            return 0
        state = self._saved
        with checkpoints.reading(self.checkpoint):
            checkpoints.load_critic(self.checkpoint, self.policy)
            checkpoints.load_optimizer(self.checkpoint, self.learner.optimizer, state["optimizer"])
            self.memory = state["memory"]
            self._restore_random_state()
            return int(state["update"])

    def _memory(self) -> dict[str, Any]:
        return {"memory": self.memory}

    def _write_checkpoint(self, state: dict[str, Any]) -> None:
        folder, keep = self.config.folder / "checkpoints", self.config.keep_checkpoints
        checkpoints.save_checkpoint(folder, self.policy, self.learner.optimizer, state, keep)

    def _evaluate(self) -> None:
        self._ready_sampler()
        self.metrics |= self._evaluator.evaluate()

    def _ready_sampler(self) -> None:
        """Have the sampler ready, with the present weights."""
        start = time.perf_counter()
        self.samplers.wake()
        if self._has_changed:
            with self.learner.autocast():
                self.processes.on_main(self.samplers.send_weights)
            self._has_changed = False
            self.metrics[TIMING + "transfer"] = time.perf_counter() - start
            if self.samplers.gap is not None:
                self.metrics["transfer_gap"] = self.samplers.gap

    def _weighted(self, batch: TrainingBatch) -> TrainingBatch:
        """Return ``batch`` with truncated importance weights in its advantages."""
        weights = truncated_weights(
            batch.old_log_probs,
            batch.sampled_log_probs,
            batch.response_mask,
            self.config.importance_cap,
        )
        capped = (weights == self.config.importance_cap).double()
        mean = self.processes.moments
        self.metrics["importance_mean"] = mean(weights, batch.response_mask)[0]
        self.metrics["importance_capped"] = mean(capped, batch.response_mask)[0]
        return replace(batch, advantages=batch.advantages * weights)

    def _check_drift(self) -> None:
        """Check that the update has not moved the policy too far.

        Raises:
            TrainingError: it has.
        """
        drift = self.metrics.get("approx_kl", 0.0)
        if not np.isfinite(drift) or abs(drift) > self.config.max_kl:
            raise TrainingError(
                f"update {self.updates_done} moved the policy by a KL divergence of {drift:.3g} a "
                f"token, more than `max_kl` = {self.config.max_kl}. The last checkpoint is from "
                "before: start a new run from it (`model`) with a lower `learning_rate`, fewer "
                "`epochs`, or more questions in an update."
            )
