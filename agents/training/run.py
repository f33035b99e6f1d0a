"""Everything around an algorithm: what to play, where figures and checkpoints go, when to stop.

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
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch

from agents.sampling.policy import Policy, add_adapters, load_policy
from agents.training import checkpoint as checkpoints
from agents.training.batch import Batch
from agents.training.collect import Collector
from agents.training.config import Config
from agents.training.display import Display
from agents.training.distributed import Processes
from agents.training.errors import CheckpointError, TrainingError
from agents.training.evaluation import evaluate
from agents.training.learner import Learner, LossFunction
from agents.training.metrics import TIMING, MetricsLog, Row, summarise
from agents.training.report import comparison, write_report

MAY_CHANGE = ("folder", "resume", "device", "save_every", "keep_checkpoints")
"""Options that a resumed run may change without becoming another run."""


class Run:
    """A training run and its folder. Use as a context manager.

    Args:
        config: the options.
        with_values: give the policy a value head.

    Raises:
        ValueError: options, model, questions or engine do not fit; before any work is done.
        CheckpointError: the folder holds a run that is not to be resumed, or one of other options.

    Attributes:
        policy: what is trained.
        learner: takes the gradient steps.
        collector: plays the episodes.
        processes: who takes part.
        row: figures of the present update.
        memory: what an algorithm keeps from update to update, JSON-able; saved in checkpoints.
    """

    def __init__(self, config: Config, *, with_values: bool = False) -> None:
        self.config = config
        self.processes = Processes(config.device)
        config.check_division(self.processes.size)
        torch.manual_seed(config.seed)
        self._saved: dict[str, Any] = {}
        self.checkpoint = self._find_checkpoint()
        self.memory: dict[str, Any] = {}
        self.policy = self._load_policy(with_values)
        self._test_sources = {
            engine: config.make_test_source(self.policy, engine) for engine in config.test_engines
        }
        self.learner = Learner(self.policy, config, self.processes)
        self.collector = Collector(self.learner, self._load_reference())
        self.updates_done = self._restore()
        self.row: Row = {}
        self._interrupted = False
        self._log: MetricsLog | None = None
        self._display: Display | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Run:
        """Open the folder, and take care of interrupts."""
        if self.processes.is_main:
            self.config.folder.mkdir(parents=True, exist_ok=True)
            (self.config.folder / "config.json").write_text(
                json.dumps(self.config.to_json(), indent=1)
            )
            self._log = MetricsLog(self.config.folder, self.updates_done if self.checkpoint else -1)
            self._display = Display(self.config, self.updates_done)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close files, and write the report unless something unforeseen ended the run."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._display is not None:
            self._display.close()
        if self._log is not None:
            self._log.close()
            expected = kind is None or issubclass(kind, SystemExit | TrainingError)
            if expected and self._log.rows:
                write_report(self.config.folder)
        self.learner.close()
        self.processes.close()

    def updates(self) -> Iterator[int]:
        """The number of each update, from 0; in between, figures and checkpoints are written."""
        if self.updates_done == 0:
            self.row = {"update": 0}
            self._evaluate()
            self._write_row()
        for update in range(self.updates_done, self.config.updates):
            start = time.perf_counter()
            self.row = {"update": update + 1}
            yield update
            self.updates_done = update + 1
            self._check_drift()
            self.row[TIMING + "update"] = time.perf_counter() - start
            is_last = self.updates_done == self.config.updates
            if is_last or self.updates_done % self.config.evaluate_every == 0:
                self._evaluate()
            self._write_row()
            stop = self.processes.agree(self._interrupted)
            if is_last or stop or self.updates_done % self.config.save_every == 0:
                self._save()
            if stop and not is_last:
                self._say(f"stopped after update {self.updates_done}; go on with --resume")
                raise SystemExit(130)
        if self._log is not None:
            self._say("\n".join(comparison(self._log.rows, self.config.test_engines)))
            self._say(f"report: {self.config.folder / 'report.md'}")

    def play(self, update: int) -> Batch:
        """Play this process's share of the episodes of ``update``.

        Returns:
            Their tokens, with the log-probabilities by the policy and, where there are a value
            head or a reference policy, what these say. Episodes whose search failed are left out.
        """
        batch, figures = self.collector.collect(update)
        self.row |= figures
        return batch

    def learn(self, batch: Batch, loss_function: LossFunction) -> None:
        """Take the gradient steps of this update on ``batch``; see `Learner.learn`."""
        start = time.perf_counter()
        self.row |= self.learner.learn(batch, loss_function, self.updates_done)
        self.row[TIMING + "learn"] = time.perf_counter() - start

    def note(self, name: str, value: float) -> None:
        """Put a figure, averaged over processes, into this update's row."""
        self.row[name] = self.processes.mean(value)

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
        now = {**self.config.to_json(), "processes": self.processes.size}
        before = {**saved["config"], "processes": saved["processes"]}
        changed = [n for n in now if n not in MAY_CHANGE and now[n] != before.get(n)]
        if changed:
            raise CheckpointError(
                f"{self.config.folder} was begun with other options: "
                + ", ".join(f"{n} was {before.get(n)!r}, is {now[n]!r}" for n in changed)
                + ". Resume with the same, or choose another --folder."
            )
        return found

    def _load_policy(self, with_values: bool) -> Policy:
        config = self.config
        source = self.checkpoint or config.model
        policy = load_policy(source, with_values=with_values, temperature=config.temperature)
        if config.lora_rank and self.checkpoint is None:
            policy.model = add_adapters(policy.model, config.lora_rank)
        if config.gradient_checkpointing:
            model: Any = policy.model
            # Newer versions of transformers have renamed it.
            new_name = "activation_checkpointing_enable"
            getattr(model, new_name, model.gradient_checkpointing_enable)()
            model.enable_input_require_grads()
        return policy.to(self.processes.device)

    def _load_reference(self) -> Policy | None:
        """The policy that training began with, if the divergence from it counts."""
        if self.config.kl_coef == 0.0:
            return None
        if self.checkpoint is not None:
            reference = load_policy(self.config.model, temperature=self.config.temperature)
        else:
            reference = copy.deepcopy(self.policy)
        return reference.to(self.processes.device).requires_grad_(False)

    def _restore(self) -> int:
        """Updates that the checkpoint has behind it; 0 without one."""
        if self.checkpoint is None:
            return 0
        checkpoints.load_critic(self.checkpoint, self.policy)
        state = self._saved
        checkpoints.load_optimizer(self.checkpoint, self.learner.optimizer, state["optimizer"])
        self.memory = state["memory"]
        torch.set_rng_state(torch.tensor(state["random_state"], dtype=torch.uint8))
        return int(state["update"])

    def _save(self) -> None:
        if self.processes.is_main:
            checkpoints.save_checkpoint(
                self.config.folder / "checkpoints",
                self.policy,
                self.learner.optimizer,
                {
                    "update": self.updates_done,
                    "progress": self.updates_done / self.config.updates,
                    "questions_drawn": self.updates_done * self.config.questions_per_update,
                    "memory": self.memory,
                    "random_state": torch.get_rng_state().tolist(),
                    "processes": self.processes.size,
                    "config": self.config.to_json(),
                },
                self.config.keep_checkpoints,
            )
        self.processes.wait()

    def _evaluate(self) -> None:
        start = time.perf_counter()
        for engine, source in self._test_sources.items():
            with self.learner.autocast():
                records = evaluate(self.policy, source, self.config, self.processes)
            for name, value in summarise(records).items():
                self.row[f"test/{engine}/{name}"] = value
        self.row[TIMING + "evaluation"] = time.perf_counter() - start

    def _check_drift(self) -> None:
        """Stop a run that has left the ground; the checkpoint before it stays."""
        drift = self.row.get("approx_kl", 0.0)
        if not np.isfinite(drift) or abs(drift) > self.config.max_kl:
            raise TrainingError(
                f"update {self.updates_done} moved the policy by a KL divergence of {drift:.3g} a "
                f"token, more than `max_kl` = {self.config.max_kl}. The last checkpoint is from "
                "before: start a new run from it (`model`) with a lower `learning_rate`, fewer "
                "`epochs`, or more questions in an update."
            )

    def _write_row(self) -> None:
        if self._log is not None and self._display is not None:
            self._log.write(self.row)
            self._display.show(self.row)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        self._say("finishing this update and saving; once more to leave at once")

    def _say(self, text: str) -> None:
        if self._display is not None:
            self._display.say(text)
