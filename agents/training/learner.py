"""Gradient steps: minibatches over all processes, accumulated by token count."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from gymnasium import logger
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from agents.sampling.policy import Policy, PolicyOutput
from agents.training.batch import PlayedBatch, TrainingBatch
from agents.training.distributed import Processes
from agents.training.errors import TrainingError
from agents.training.metrics import Metrics
from agents.training.precision import autocast
from zs_env import keyed_random

if TYPE_CHECKING:
    from agents.training.config import Config

LossFunction = Callable[[PolicyOutput, TrainingBatch], tuple[Tensor, dict[str, Tensor]]]
"""Function (output of the policy, batch) -> (loss, figures by name) of each token, (B, T) each."""


LARGE_MODEL, LARGE_RATE = 100_000_000, 1e-4
"""Parameters and learning rate from which on training all weights is likely to break a model."""


class Learner:
    """Learner, which takes the gradient steps on ``policy``.

    Args:
        policy: policy to train.
        config: options: learning rates, minibatches, limits.
        processes: processes that take part.

    Attributes:
        optimizer: AdamW with a learning rate for the policy and one for the value head.
    """

    def __init__(self, policy: Policy, config: Config, processes: Processes) -> None:
        self.policy = policy
        self.config = config
        self.processes = processes
        self._module = processes.wrap(policy)
        _check_learning_rate(policy, config)
        head = [] if policy.value_head is None else list(policy.value_head.parameters())
        body = [p for p in policy.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": body, "lr": config.learning_rate},
                {"params": head, "lr": config.critic_learning_rate},
            ],
            weight_decay=config.weight_decay,
        )

    def autocast(self) -> torch.autocast | nullcontext[None]:
        """Return a context manager for the precision to compute in."""
        return autocast(self.config.precision, self.processes.device)

    @torch.no_grad()
    def score(self, batch: PlayedBatch, policy: Policy | None = None) -> PolicyOutput:
        """Return the output of ``policy`` for the tokens of the loss.

        Args:
            batch: episodes to score.
            policy: policy to score with; by default the one being trained.

        Returns:
            Scores on the CPU, (B, T) each, float32, 0 outside the loss mask.
        """
        policy = self.policy if policy is None else policy
        policy.eval()
        columns = [torch.zeros(batch.loss_mask.shape) for _ in range(3)]
        for index in batch.micro_batches(self.config.micro_batch_tokens):
            part = batch.select(index).to(self.processes.device)
            with self.autocast():
                output = policy(part.token_ids, part.loss_mask)
            for column, values in zip(columns, output, strict=True):
                column[index, : values.shape[1]] = values.float().cpu()
        return PolicyOutput(*columns)

    def learn(self, batch: TrainingBatch, loss_function: LossFunction, update: int) -> Metrics:
        """Take a gradient step for each minibatch of this process's ``batch``.

        Args:
            batch: this process's episodes.
            loss_function: function that returns the loss and figures, see `LossFunction`.
            update: number of the update, from 0; learning rates fall with it.

        Returns:
            Means over all tokens and processes: ``loss``, ``gradient_norm``, and the figures of
            ``loss_function``.

        Raises:
            TrainingError: the loss or the gradient is not finite; the step was not taken.
        """
        self.policy.train()
        share = 1.0 - self.config.learning_rate_decay * update / self.config.updates
        for group in self.optimizer.param_groups:
            group["lr"] = share * group.setdefault("initial_lr", group["lr"])
        totals: Metrics = {}
        all_tokens = 0.0
        for epoch in range(self.config.epochs):
            order = torch.from_numpy(
                keyed_random.permutation(len(batch), "minibatches", self.config.seed, update, epoch)
            )
            for index in order.tensor_split(self.config.minibatches):
                minibatch = batch.select(index)
                # Over all processes, which therefore skip a minibatch together.
                num_tokens = float(self.processes.sum(minibatch.loss_mask.sum().double()))
                if num_tokens == 0:
                    continue
                all_tokens += num_tokens
                for name, value in self._step(minibatch, loss_function, num_tokens).items():
                    totals[name] = totals.get(name, 0.0) + value * num_tokens
        return {name: total / all_tokens for name, total in totals.items()}

    def close(self) -> None:
        """Free what belongs to the group of processes; call it before that is closed."""
        self._module = self.policy

    def _step(
        self, batch: TrainingBatch, loss_function: LossFunction, num_tokens: float
    ) -> Metrics:
        """Take a gradient step on a minibatch of which each process holds a part."""
        self.optimizer.zero_grad()
        sums = self._accumulate(batch, loss_function, num_tokens)
        names = sorted(sums)
        means = self.processes.sum(torch.tensor([sums[n] for n in names], dtype=torch.float64))
        figures = dict(zip(names, (means / num_tokens).tolist(), strict=True))
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.max_grad_norm)
        figures["gradient_norm"] = float(norm)
        for name in ("loss", "gradient_norm"):
            if not torch.isfinite(torch.tensor(figures[name])):
                raise TrainingError(
                    f"the {name.replace('_', ' ')} became {figures[name]}. The weights of the last "
                    "checkpoint are untouched: start a new run from them (`model`) with a lower "
                    "`learning_rate`, a lower `max_grad_norm`, or in float32."
                )
        self.optimizer.step()
        return figures

    def _accumulate(
        self, batch: TrainingBatch, loss_function: LossFunction, num_tokens: float
    ) -> Metrics:
        """Accumulate gradients of the mean loss over ``num_tokens``; return sums of figures."""
        sums: Metrics = {}
        # Every process must take part in averaging gradients, even one without episodes.
        batch = batch if len(batch) else batch.padding()
        parts = list(batch.micro_batches(self.config.micro_batch_tokens))
        for number, index in enumerate(parts, start=1):
            part = batch.select(index).to(self.processes.device)
            with self._synchronised(number == len(parts)), self.autocast():
                loss, figures = loss_function(self._module(part.token_ids, part.loss_mask), part)
                total_loss = loss.where(part.loss_mask, 0.0).sum()
                # Averaging over processes divides by their number, but a sum is wanted.
                (total_loss * self.processes.size / num_tokens).backward()
            for name, values in {"loss": loss, **figures}.items():
                total = values.detach().where(part.loss_mask, 0.0).double().sum().item()
                sums[name] = sums.get(name, 0.0) + total
        return sums

    def _synchronised(self, now: bool) -> AbstractContextManager[None]:
        """Return a context manager in which gradients are averaged only if ``now``."""
        if now or not isinstance(self._module, DistributedDataParallel):
            return nullcontext()
        return self._module.no_sync()


def _check_learning_rate(policy: Policy, config: Config) -> None:
    """Warn of the learning rate of small models with a large one."""
    count = sum(p.numel() for p in policy.model.parameters() if p.requires_grad)
    if count >= LARGE_MODEL and config.learning_rate >= LARGE_RATE:
        logger.warn(
            f"a `learning_rate` of {config.learning_rate:g} is high for {count / 1e6:,.0f} million "
            "parameters: the default suits the bundled model of one million; the paper has 1e-6 "
            "for 3 billion."
        )
