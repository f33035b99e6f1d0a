"""REINFORCE with masked tokens.

    python -m agents.reinforce --help

The plain policy gradient: the advantage of each policy token is the reward of its episode minus a
baseline. With several episodes for a question, the baseline is the mean reward of the others
(RLOO); with one, it is a moving mean of all rewards. This is the shortest algorithm here, and the
one to copy.

Departures from the paper (arXiv 2505.04588, section 3.4):
- The loss is a mean over all tokens of a minibatch.
- An episode whose search failed is left out of the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from agents.objectives.advantages import leave_one_out, normalize
from agents.objectives.losses import kl_k1, kl_k3, policy_gradient_loss
from agents.sampling.policy import PolicyOutput
from agents.training.batch import Batch, TrainingBatch
from agents.training.config import Config
from agents.training.program import run_algorithm
from agents.training.run import Run


@dataclass(frozen=True)
class ReinforceConfig(Config):
    """Options of REINFORCE."""

    folder: Path = Path("runs/reinforce")
    """Folder of the run: config, metrics, checkpoints, report."""
    learning_rate: float = 3e-4
    """Learning rate of the policy; lower than PPO's, as no clipping bounds an update."""
    baseline_decay: float = 0.5
    """Share of the moving mean of rewards that is kept in an update.

    Rewards fall as noise rises: a baseline that lags far behind is too high,
    and makes nearly all advantages negative.
    """

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if not 0.0 <= self.baseline_decay < 1.0:
            raise ValueError(f"`baseline_decay` must be in [0, 1), got {self.baseline_decay}.")


def train(config: ReinforceConfig) -> None:
    """Train a policy by REINFORCE."""

    def loss_function(now: PolicyOutput, batch: TrainingBatch) -> tuple[Tensor, dict[str, Tensor]]:
        policy_loss = policy_gradient_loss(now.log_probs, batch.advantages, batch.loss_mask)
        return policy_loss - config.entropy_coef * now.entropy, {
            "policy_loss": policy_loss,
            "entropy": now.entropy,
            "approx_kl": kl_k3(batch.old_log_probs, now.log_probs, batch.loss_mask),
        }

    def advantages_of(run: Run, batch: Batch) -> Tensor:
        """Return the advantages of the episodes, (B,)."""
        if config.group_size > 1:
            return leave_one_out(batch.rewards, batch.groups)
        # The mask is True for every episode.
        mean, _ = run.processes.moments(batch.rewards, batch.rewards > -float("inf"))
        baseline = run.memory.get("baseline", mean)
        decay = config.baseline_decay
        run.memory["baseline"] = decay * baseline + (1.0 - decay) * mean
        return batch.rewards - baseline

    with Run(config) as run:
        for update in run.updates():
            batch = run.play(update)
            advantages = advantages_of(run, batch)[:, None] * batch.loss_mask  # (B, T)
            if batch.reference_log_probs is not None:
                drift = kl_k1(batch.old_log_probs, batch.reference_log_probs, batch.loss_mask)
                advantages = advantages - config.kl_coef * drift
            _, variance = run.processes.moments(advantages, batch.loss_mask)
            # Scaled but not shifted: the baseline has been subtracted already.
            advantages = normalize(advantages, batch.loss_mask, 0.0, variance)
            run.learn(batch.with_targets(advantages), loss_function)


if __name__ == "__main__":
    run_algorithm(train, ReinforceConfig)
