"""GRPO with masked tokens.

    python -m agents.grpo --help

Several episodes answer the same question, with the same noise labels and the same documents for
the same queries. An episode's advantage is its reward compared with those of its group. There is no
critic.

Departures from the paper (arXiv 2505.04588, section 3.4) and from Shao et al. 2024:
- The loss is a mean over all tokens of a minibatch. A mean over episodes of the means over their
  tokens would favour long answers when they are wrong.
- The old log-probabilities of the probability ratio are computed by the learner before the update;
  see `old_log_probs`.
- Groups whose rewards are all equal are left out of the loss; their share is logged.
- An episode whose search failed is left out of its group.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from agents.objectives.advantages import group_relative, has_variance
from agents.objectives.losses import clipped_policy_loss, kl_k3
from agents.sampling.policy import PolicyOutput
from agents.training.batch import TrainingBatch
from agents.training.config import Config
from agents.training.program import run_algorithm
from agents.training.run import Run


@dataclass(frozen=True)
class GRPOConfig(Config):
    """Options of GRPO."""

    folder: Path = Path("runs/grpo")
    """Folder of the run: config, metrics, checkpoints, report."""
    questions_per_update: int = 52
    """Questions of an update."""
    group_size: int = 5
    """Episodes for each question."""
    clip_coef: float = 0.2
    """Clipping range of the probability ratio: [1 - clip_coef, 1 + clip_coef]."""
    divide_by_std: bool = True
    """Whether advantages are divided by the group's standard deviation; False is "Dr. GRPO"."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if self.group_size < 2:
            raise ValueError(f"`group_size` must be at least 2 in GRPO, got {self.group_size}.")
        if not self.clip_coef > 0.0:
            raise ValueError(f"`clip_coef` must be greater than 0, got {self.clip_coef}.")


def train(config: GRPOConfig) -> None:
    """Train a policy by GRPO."""

    def loss_function(now: PolicyOutput, batch: TrainingBatch) -> tuple[Tensor, dict[str, Tensor]]:
        mask = batch.loss_mask
        policy_loss, clipped = clipped_policy_loss(
            now.log_probs, batch.old_log_probs, batch.advantages, mask, config.clip_coef
        )
        loss = policy_loss - config.entropy_coef * now.entropy
        if batch.reference_log_probs is not None:
            loss = loss + config.kl_coef * kl_k3(now.log_probs, batch.reference_log_probs, mask)
        return loss, {
            "policy_loss": policy_loss,
            "entropy": now.entropy,
            "clip_fraction": clipped.float(),
            "approx_kl": kl_k3(batch.old_log_probs, now.log_probs, mask),
        }

    with Run(config) as run:
        for update in run.updates():
            batch = run.play(update)
            useful = has_variance(batch.rewards, batch.groups)
            # max: the batch is empty if the search of every episode failed.
            run.note("zero_variance_share", float((~useful).sum()) / max(len(batch), 1))
            advantages = group_relative(
                batch.rewards, batch.groups, divide_by_std=config.divide_by_std
            )
            targets = batch.with_targets(advantages[:, None] * batch.loss_mask)  # (B, T)
            run.learn(targets.select(useful), loss_function)


if __name__ == "__main__":
    run_algorithm(train, GRPOConfig)
