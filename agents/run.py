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
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents import checkpoint as checkpoints
from agents.batch import Batch, make_batch
from agents.config import Config
from agents.display import Display
from agents.distributed import Processes
from agents.errors import CheckpointError, TrainingError
from agents.evaluate import evaluate
from agents.learner import Learner, LossFunction
from agents.losses import kl_k3
from agents.metrics import TIMING, MetricsLog, Row, record_of, summarise
from agents.policy import Policy, add_adapters, load_policy
from agents.report import comparison, write_report
from agents.rollouts import Assignment, Player, token_rules
from zs_env.factory import QuestionOrder
from zs_env.keyed_random import derive_key
from zs_env.trajectory import Trajectory

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
        processes: who takes part.
        memory: what an algorithm keeps from update to update, JSON-able; saved in checkpoints.
    """

    def __init__(self, config: Config, *, with_values: bool = False) -> None:
        self.config = config
        self.processes = Processes(config.device)
        config.check_division(self.processes.size)
        torch.manual_seed(config.seed)
        self.checkpoint = self._find_checkpoint()
        self.memory: dict[str, Any] = {}
        self._factory = config.make_factory()
        self._test_factories = {e: config.make_test_factory(e) for e in config.test_engines}
        self._order = QuestionOrder(self._factory.source, config.seed)
        self.policy = self._load_policy(with_values)
        self.learner = Learner(self.policy, config, self.processes)
        self._reference = self._make_reference()
        rules = token_rules(self._factory.rules, config.max_context, config.max_turn_tokens)
        self._player = Player(self.policy, self._factory.search_engine, rules, config.rollout_rows)
        self._check_context()
        self.updates_done = self._restore()
        self._row: Row = {}
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
            self._row = {"update": 0}
            self._evaluate()
            self._write_row()
        for update in range(self.updates_done, self.config.updates):
            start = time.perf_counter()
            self._row = {"update": update + 1}
            yield update
            self.updates_done = update + 1
            self._check_drift()
            self._row[TIMING + "update"] = time.perf_counter() - start
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
        start = time.perf_counter()
        self.policy.eval()
        self._player.sampler.seconds = 0.0
        assignments = self._assignments(update)
        with self.learner.autocast():
            trajectories = self._player.play(assignments)
        for trajectory in trajectories:
            trajectory.verify()
        self._note_episodes(trajectories, time.perf_counter() - start)
        start = time.perf_counter()
        kept = [number for number, t in enumerate(trajectories) if not t.search_failed]
        batch = make_batch(
            [trajectories[number] for number in kept],
            [number // self.config.group_size for number in kept],
            mask_documents=self.config.mask_documents,
        )
        batch = self._score(batch, [trajectories[number] for number in kept])
        self._row[TIMING + "score"] = time.perf_counter() - start
        return batch

    def learn(self, batch: Batch, loss_function: LossFunction) -> None:
        """Take the gradient steps of this update on ``batch``; see `Learner.learn`."""
        start = time.perf_counter()
        self._row |= self.learner.learn(batch, loss_function, self.updates_done)
        self._row[TIMING + "learn"] = time.perf_counter() - start

    def note(self, name: str, value: float) -> None:
        """Put a figure, averaged over processes, into this update's row."""
        total = self.processes.sum(torch.tensor([value, 1.0], dtype=torch.float64))
        self._row[name] = float(total[0] / total[1])

    def moments(self, values: Tensor, mask: Tensor) -> tuple[float, float]:
        """Mean and variance of the masked ``values`` of all processes."""
        chosen = values[mask].double()
        sums = self.processes.sum(
            torch.stack([chosen.sum(), chosen.square().sum(), mask.sum().double()])
        )
        total, squares, count = sums.tolist()
        mean = total / max(count, 1.0)
        return mean, max(squares / max(count, 1.0) - mean**2, 0.0)

    def _find_checkpoint(self) -> Path | None:
        found = checkpoints.last_checkpoint(self.config.folder / "checkpoints")
        if found is None:
            return None
        if not self.config.resume:
            raise CheckpointError(
                f"{self.config.folder} holds a run already: go on with --resume, choose another "
                "--folder, or delete it."
            )
        saved = checkpoints.load_state(found)
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

    def _check_context(self) -> None:
        """ValueError unless model and context can hold the longest question and a turn."""
        longest = getattr(self.policy.model.config, "max_position_embeddings", None)
        if longest is not None and self.config.max_context > longest:
            raise ValueError(
                f"`max_context` is {self.config.max_context}, and the model reads at most "
                f"{longest} tokens."
            )
        for factory in (self._factory, *self._test_factories.values()):
            self._player.check_room(factory.source)

    def _make_reference(self) -> Policy | None:
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
        checkpoints.load_optimizer(self.checkpoint, self.learner.optimizer)
        state = checkpoints.load_state(self.checkpoint)
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

    def _assignments(self, update: int) -> list[Assignment]:
        """The episodes of this process: its questions, each as often as a group is large."""
        config = self.config
        noise = self._factory.noise_probability(update / config.updates)
        self._row["noise_probability"] = noise
        first = update * config.questions_per_update
        numbers = self.processes.share(range(first, first + config.questions_per_update))
        return [
            Assignment(
                self._order[number],
                derive_key("episode", config.seed, number),
                derive_key("sample", config.seed, number, member),
                noise,
            )
            for number in numbers
            for member in range(config.group_size)
        ]

    def _score(self, batch: Batch, trajectories: list[Trajectory]) -> Batch:
        sampled = torch.zeros_like(batch.mask)
        for row, trajectory in enumerate(trajectories):
            sampled[row, : len(trajectory)] = torch.from_numpy(trajectory.response_mask)
        counts = self.processes.sum(torch.stack([(batch.mask & sampled).sum(), batch.mask.sum()]))
        self._row["response_mask_coverage"] = float(counts[0] / counts[1].clamp_min(1))
        if self.policy.value_head is not None or not self.config.mask_documents:
            scored = self.learner.score(batch)
            gap = (scored.log_probs - batch.sampled_log_probs).abs()[batch.mask & sampled]
            self.note("sampler_gap", float(gap.max()) if len(gap) else 0.0)
            batch = replace(batch, old_log_probs=scored.log_probs, values=scored.values)
        else:
            batch = replace(batch, old_log_probs=batch.sampled_log_probs)
        if self._reference is not None:
            reference = self.learner.score(batch, self._reference).log_probs
            batch = replace(batch, reference_log_probs=reference)
            mean, _ = self.moments(kl_k3(batch.old_log_probs, reference, batch.mask), batch.mask)
            self._row["kl"] = mean
        return batch

    def _note_episodes(self, trajectories: list[Trajectory], seconds: float) -> None:
        records = self.processes.gather([record_of(t) for t in trajectories])
        self._row |= summarise(records)
        generation = self._player.sampler.seconds
        self._row[TIMING + "generation"] = generation
        self._row[TIMING + "environment"] = seconds - generation
        self._row["episodes"] = float(len(records))

    def _evaluate(self) -> None:
        start = time.perf_counter()
        for engine, factory in self._test_factories.items():
            with self.learner.autocast():
                records = evaluate(self.policy, factory, self.config, self.processes)
            for name, value in summarise(records).items():
                self._row[f"test/{engine}/{name}"] = value
        self._row[TIMING + "evaluation"] = time.perf_counter() - start

    def _check_drift(self) -> None:
        """Stop a run that has left the ground; the checkpoint before it stays."""
        drift = self._row.get("approx_kl", 0.0)
        if not np.isfinite(drift) or abs(drift) > self.config.max_kl:
            raise TrainingError(
                f"update {self.updates_done} moved the policy by a KL divergence of {drift:.3g} a "
                f"token, more than `max_kl` = {self.config.max_kl}. The last checkpoint is from "
                "before: resume from it with a lower `learning_rate`, fewer `epochs`, or more "
                "questions in an update."
            )

    def _write_row(self) -> None:
        if self._log is not None and self._display is not None:
            self._log.write(self._row)
            self._display.show(self._row)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        self._say("finishing this update and saving; once more to leave at once")

    def _say(self, text: str) -> None:
        if self._display is not None:
            self._display.say(text)
