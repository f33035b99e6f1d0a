"""An algorithm of your own: REINFORCE on the better half of the episodes, in one short file.

    python -m examples.custom_algorithm

Each update plays episodes and raises the probability of the policy tokens of those whose reward is
at least the median: "filtered behaviour cloning", or expert iteration. An algorithm only defines
how advantages follow from rewards, and the loss. Takes about two minutes on two cores; prints a
line for each update, the F1 before and after, and the path of the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from agents.objectives.losses import kl_k3, policy_gradient_loss
from agents.sampling.policy import PolicyOutput
from agents.training.batch import TrainingBatch
from agents.training.cli import run_main
from agents.training.config import Config
from agents.training.run import Run


@dataclass(frozen=True)
class BetterHalfConfig(Config):
    """Options: those of all algorithms, and one more."""

    folder: Path = Path("runs/better_half")
    """Folder of the run: config, metrics, checkpoints, report."""
    updates: int = 12
    """Updates of the run; each plays episodes and learns from them."""
    kl_coef: float = 0.0
    """Weight of the KL divergence; with 0 there is no reference policy."""
    smallest_reward: float = 0.1
    """Smallest reward of an episode that is imitated."""


def loss_function(now: PolicyOutput, batch: TrainingBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of each token, and figures to log; (B, T) each, 0 outside the loss mask."""
    loss = policy_gradient_loss(now.log_probs, batch.advantages, batch.loss_mask)
    return loss, {
        "entropy": now.entropy,
        "approx_kl": kl_k3(batch.old_log_probs, now.log_probs, batch.loss_mask),
    }


def train(config: BetterHalfConfig) -> None:
    """Train a policy, evaluate it, write checkpoints and a report."""
    with Run(config) as run:
        for update in run.updates():
            batch = run.play(update)
            # The bound keeps episodes without a reward out, even if most are so.
            worth = batch.rewards >= batch.rewards.median().clamp_min(config.smallest_reward)
            run.note("imitated_share", float(worth.float().mean()))
            advantages = worth.float()[:, None] * batch.loss_mask
            run.learn(batch.with_targets(advantages).select(worth), loss_function)


if __name__ == "__main__":
    run_main(train, BetterHalfConfig)
