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
import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch

from agents.objectives.importance import truncated_weights
from agents.sampling.errors import SamplerError
from agents.sampling.policy import Policy, add_adapters, load_policy
from agents.training import checkpoint as checkpoints
from agents.training.batch import Batch, TrainingBatch
from agents.training.collect import Collector
from agents.training.config import Config
from agents.training.display import Display
from agents.training.distributed import Processes
from agents.training.errors import CheckpointError, TrainingError
from agents.training.evaluation import Evaluator
from agents.training.folder import check_folder, open_folder
from agents.training.learner import Learner, LossFunction
from agents.training.memory import explain_memory
from agents.training.metrics import TIMING, Metrics, MetricsLog
from agents.training.report import comparison, write_report
from agents.training.resume import check_options
from agents.training.samplers import make_samplers


class Run:
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
        self.config = config
        self.processes = Processes(config.device)
        config.check_division(self.processes.size)
        torch.manual_seed(config.seed)
        self._saved: dict[str, Any] = {}
        self._ignored: list[str] = []
        # The folder is checked first, since loading a model takes long.
        self.processes.on_main(lambda: check_folder(config.folder))
        self.checkpoint = self._find_checkpoint()
        self.memory: dict[str, Any] = {}
        with explain_memory():
            self.policy = self._load_policy(with_values)
        self.config = config = config.keep_prompt(self.policy, self._saved.get("config", {}))
        self.learner = Learner(self.policy, config, self.processes)
        self.samplers = make_samplers(config, self.policy, self.processes)
        self._evaluator = Evaluator(self.learner, self.samplers)
        self._has_changed = True  # since the weights were last given to the sampler
        self.collector = Collector(self.learner, self._load_reference(), self.samplers)
        self.updates_done = self._restore()
        self.metrics: Metrics = {}
        self._interrupted = False
        self._log: MetricsLog | None = None
        self._display: Display | None = None
        self._open = ExitStack()

    def __enter__(self) -> Run:
        """Open the folder, and handle interrupts."""
        with ExitStack() as stack:
            stack.callback(self.processes.close)
            stack.callback(self.learner.close)
            self.processes.on_main(lambda: self._open_folder(stack))
            stack.callback(self.samplers.close)
            self.samplers.start()
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, self._interrupt))
            self._open = stack.pop_all()  # closed here only if something above failed
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close files, and write the report unless an unexpected error ended the run."""
        self._open.__exit__(kind, error, trace)

    def updates(self) -> Iterator[int]:
        """Yield the number of each update, from 0; in between, write metrics and checkpoints."""
        if self.updates_done == 0:
            self.metrics = {"update": 0}
            self._evaluate()
            self._write_metrics()
        for update in range(self.updates_done, self.config.updates):
            start = time.perf_counter()
            self.metrics = {"update": update + 1}
            yield update
            self.updates_done = update + 1
            self._check_drift()  # before the checkpoint is written
            self.metrics[TIMING + "update"] = time.perf_counter() - start
            is_last = self.updates_done == self.config.updates
            if is_last or self.updates_done % self.config.evaluate_every == 0:
                self._evaluate()
            self._write_metrics()
            stop = self.processes.agree(self._interrupted)
            if is_last or stop or self.updates_done % self.config.save_every == 0:
                self._save()
            if stop and not is_last:
                self._say(f"stopped after update {self.updates_done}; go on with --resume")
                raise SystemExit(130)  # the status of a program ended by Ctrl-C
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

    def _open_folder(self, stack: ExitStack) -> None:
        """Open files and display, which ``stack`` closes."""
        folder = self.config.folder
        stack.enter_context(open_folder(folder))
        # A run may have written to the folder since this one looked for a checkpoint.
        if checkpoints.last_checkpoint(folder / "checkpoints") != self.checkpoint:
            raise CheckpointError(f"another run has just written to {folder}: start again.")
        self._log = MetricsLog(folder, self.updates_done if self.checkpoint else None)
        (folder / "config.json").write_text(json.dumps(self.config.to_json(), indent=1))
        stack.push(self._report)
        stack.callback(self._log.close)
        self._display = Display(self.config, self.updates_done)
        stack.callback(self._display.close)
        if self._ignored:
            self._say(f"ignored options that no longer exist: {', '.join(self._ignored)}")

    def _report(self, kind: type[BaseException] | None, *_: object) -> None:
        expected = kind is None or issubclass(kind, SystemExit | TrainingError | SamplerError)
        if expected and self._log is not None and self._log.written:
            write_report(self.config.folder)

    def _find_checkpoint(self) -> Path | None:
        found = checkpoints.last_checkpoint(self.config.folder / "checkpoints")
        if found is None:
            return None
        if not self.config.resume:
            raise CheckpointError(
                f"{self.config.folder} holds a run already: go on with --resume, choose another "
                "--folder, or delete it."
            )
        saved = self._saved = checkpoints.load_state(found)
        with checkpoints.reading(found):
            self._ignored = check_options(self.config, saved["config"])
            if saved["processes"] != self.processes.size:
                raise CheckpointError(
                    f"{self.config.folder} was begun with {saved['processes']} processes, and now "
                    f"there are {self.processes.size}: resume with as many."
                )
        return found

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
            model: Any = policy.model
            # Newer versions of transformers have renamed `gradient_checkpointing_enable`.
            new_name = "activation_checkpointing_enable"
            getattr(model, new_name, model.gradient_checkpointing_enable)()
            model.enable_input_require_grads()
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
            torch.set_rng_state(torch.tensor(state["random_state"], dtype=torch.uint8))
            return int(state["update"])

    def _save(self) -> None:
        state = {
            "update": self.updates_done,
            "memory": self.memory,
            "random_state": torch.get_rng_state().tolist(),
            "processes": self.processes.size,
            "config": self.config.to_json(),
        }
        folder, keep = self.config.folder / "checkpoints", self.config.keep_checkpoints
        save = checkpoints.save_checkpoint
        self.processes.on_main(
            lambda: save(folder, self.policy, self.learner.optimizer, state, keep)
        )

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

    def _write_metrics(self) -> None:
        if self._log is not None and self._display is not None:
            self._log.write(self.metrics)
            self._display.show(self.metrics)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        self._say("finishing this update and saving; interrupt again to stop at once")

    def _say(self, text: str) -> None:
        if self._display is not None:
            self._display.say(text)
