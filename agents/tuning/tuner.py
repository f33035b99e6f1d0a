"""Gradient steps on rows of pairs, and their held-out loss, over all processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from agents.supervised.losses import shifted
from agents.supervised.optimizers import make_optimizers, take_step, warmup_cosine
from agents.training.distributed import Processes
from agents.training.errors import TrainingError
from agents.training.metrics import Metrics
from agents.training.precision import autocast
from agents.tuning.config import SFTConfig
from agents.tuning.rows import KINDS, Row, collate, in_parts
from agents.tuning.scorer import Scorer, check_attention, check_packing

ALL, GOLDEN, STATED = "", "golden", "stated"
"""Kinds of tokens with a held-out loss, beside the labels: all, golden answers, stated names."""


class Tuner:
    """Tuner, which takes the gradient steps on ``model``.

    Args:
        model: model to tune, on its device.
        config: options.
        processes: processes that take part.

    Raises:
        ValueError: the model cannot be trained on packed rows.

    Attributes:
        scorer: the model, which gives losses.
        optimizers: its optimizers.
    """

    def __init__(self, model: PreTrainedModel, config: SFTConfig, processes: Processes) -> None:
        self.config = config
        self.processes = processes
        if config.packing:
            check_attention(model, config.row_tokens)
        self.scorer = Scorer(model)
        if config.packing:
            check_packing(self.scorer)
        self._module = processes.wrap(self.scorer)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizers = make_optimizers(
            model,
            config.optimizer,
            config.learning_rate,
            config.weight_decay,
            config.muon_learning_rate,
        )

    def learn(self, rows: Sequence[Row], step: int, steps: int) -> Metrics:
        """Take the gradient step ``step`` of ``steps`` on ``rows``.

        The loss is the mean over the completions' tokens, weighted by `SFTConfig.answer_weight`.

        Args:
            rows: rows of the step, over all processes; this process takes its share.
            step: number of the step, from 0.
            steps: number of steps of the run.

        Returns:
            Figures over all processes: ``loss``, ``gradient_norm``, ``learning_rate``, and
            ``tokens``, without padding.

        Raises:
            TrainingError: the loss or the gradient is not finite; the step was not taken.
        """
        config = self.config
        self.scorer.train()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss = float(self.processes.sum(torch.tensor(self._accumulate(rows))))
        factor = warmup_cosine(step, steps, config.warmup_steps, config.learning_rate_floor)
        norm = take_step(self.optimizers, self._parameters, factor, config.max_grad_norm)
        figures = {"loss": loss, "gradient_norm": norm}
        for name, value in figures.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"the {name.replace('_', ' ')} became {value} in step {step + 1}. Start a new "
                    "run from the last checkpoint (`model`) with a lower `learning_rate` or "
                    "`max_grad_norm`, or in float32."
                )
        tokens = float(sum(len(pair) for row in rows for pair in row))
        return {**figures, "learning_rate": factor * config.learning_rate, "tokens": tokens}

    @torch.no_grad()
    def evaluate(self, rows: Sequence[Row]) -> Metrics:
        """Return the mean losses of held-out ``rows``, in nats a token, over all processes.

        Returns:
            ``held_out/loss``; ``held_out/useful_loss`` and ``held_out/noisy_loss`` of the pairs
            with these labels; ``held_out/golden_loss`` of the tokens of golden answers, and
            ``held_out/stated_loss`` of those of stated names. Those without tokens are left out.
        """
        self.scorer.eval()
        names = [ALL, *(name for name in KINDS if name), GOLDEN, STATED]
        sums = torch.zeros(len(names), 2, dtype=torch.float64)  # losses, and tokens
        for part in in_parts(self.processes.share(rows), self.config.micro_batch_tokens):
            batch = collate(part).to(self.processes.device)
            with self._autocast():
                losses = self.scorer(batch).double()
            chosen, _ = shifted(batch.labels)
            columns = (batch.kinds, batch.golden, batch.stated)
            kinds, golden, stated = (column.roll(-1, 1)[chosen] for column in columns)
            labelled = (kinds == number for number in KINDS.values() if number)
            groups = [torch.ones_like(golden), *labelled, golden, stated]
            for number, group in enumerate(groups):
                sums[number] += torch.stack([losses[group].sum(), group.sum()]).cpu()
        totals = self.processes.sum(sums).tolist()
        return {
            "held_out/" + (f"{name}_loss" if name else "loss"): total / count
            for name, (total, count) in zip(names, totals, strict=True)
            if count
        }

    def close(self) -> None:
        """Free what belongs to the group of processes; call it before that is closed."""
        self._module = self.scorer

    def _accumulate(self, rows: Sequence[Row]) -> float:
        """Accumulate gradients of the weighted mean loss; return this process's part of the sum."""
        answer_weight = self.config.answer_weight
        total_weight = sum(pair.weight(answer_weight) for row in rows for pair in row)
        # Every process must take part in averaging gradients, even one without rows.
        parts = list(in_parts(self.processes.share(rows), self.config.micro_batch_tokens))
        total = 0.0
        for number, part in enumerate(parts, start=1):
            batch = collate(part).to(self.processes.device)
            with self._synchronised(number == len(parts)), self._autocast():
                losses: Tensor = self._module(batch)
                weighted = batch.weighted.roll(-1, 1)[shifted(batch.labels)[0]]
                weights = torch.where(weighted, answer_weight, 1.0)
                loss = (losses * weights).sum() / max(total_weight, 1e-9)
                # Averaging over processes divides by their number, but a sum is wanted.
                (loss * self.processes.size).backward()
            total += loss.item()
        return total

    def _autocast(self) -> AbstractContextManager[None]:
        return autocast(self.config.precision, self.processes.device)

    def _synchronised(self, now: bool) -> AbstractContextManager[None]:
        """Return a context manager in which gradients are averaged only if ``now``."""
        if now or not isinstance(self._module, DistributedDataParallel):
            return nullcontext()
        return self._module.no_sync()
