"""PPO with masked tokens.

    python -m agents.ppo --help

A value head predicts the return before each policy token. Generalised advantage estimation (GAE)
computes advantages from rewards and values. The clipped surrogate loss keeps the policy near the
one that played. Document tokens are part of the environment: they have no advantage, no value and
no loss.

Departures from the paper (arXiv 2505.04588, section 3.4) and its code:
- The critic is a head on the policy's trunk, not a second model.
- Only policy tokens have advantages and values; in the public code document tokens have them too.
- The old log-probabilities of the probability ratio are computed by the learner before the update;
  see `old_log_probs`.
- The loss is a mean over all tokens of a minibatch, whatever the length of their episodes.
- An episode whose search failed is left out of the loss.
- Learning rates and batch size suit a small model; the paper's are 1e-6, 1e-5 and 64 x 5.
  The rates fall linearly; the paper's are constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from agents.objectives.advantages import gae, normalize, rewards_at_end
from agents.objectives.losses import clipped_policy_loss, clipped_value_loss, kl_k1, kl_k3
from agents.sampling.policy import PolicyOutput
from agents.training.batch import TrainingBatch
from agents.training.config import Config
from agents.training.program import run_algorithm
from agents.training.run import Run


@dataclass(frozen=True)
class PPOConfig(Config):
    """Options of PPO."""

    folder: Path = Path("runs/ppo")
    """Folder of the run: config, metrics, checkpoints, report."""
    gamma: float = 1.0
    """Discount factor of rewards, for each policy token."""
    gae_lambda: float = 0.98
    """Weight of later rewards in GAE: 0 uses the next value only, 1 the rewards only."""
    clip_coef: float = 0.2
    """Clipping range of the probability ratio: [1 - clip_coef, 1 + clip_coef]."""
    value_clip: float = 0.2
    """Clipping range of a value's change in an update: [-value_clip, value_clip]."""
    value_coef: float = 0.1
    """Weight of the value loss."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        for name in ("gamma", "gae_lambda"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"`{name}` must be in [0, 1], got {getattr(self, name)}.")
        for name in ("clip_coef", "value_clip"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"`{name}` must be greater than 0, got {getattr(self, name)}.")


def train(config: PPOConfig) -> None:
    """Train a policy by PPO."""

    def loss_function(now: PolicyOutput, batch: TrainingBatch) -> tuple[Tensor, dict[str, Tensor]]:
        mask = batch.loss_mask
        policy_loss, clipped = clipped_policy_loss(
            now.log_probs, batch.old_log_probs, batch.advantages, mask, config.clip_coef
        )
        value_loss = clipped_value_loss(
            now.values, batch.values, batch.returns, mask, config.value_clip
        )
        loss = policy_loss + config.value_coef * value_loss - config.entropy_coef * now.entropy
        return loss, {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": now.entropy,
            "clip_fraction": clipped.float(),
            "approx_kl": kl_k3(batch.old_log_probs, now.log_probs, mask),
        }

    with Run(config, with_values=True) as run:
        for update in run.updates():
            batch = run.play(update)
            rewards = rewards_at_end(batch.rewards, batch.loss_mask)
            if batch.reference_log_probs is not None:
                # A penalty in the rewards, not in the loss: see `kl_k1`.
                drift = kl_k1(batch.old_log_probs, batch.reference_log_probs, batch.loss_mask)
                rewards = rewards - config.kl_coef * drift
            advantages, returns = gae(
                rewards, batch.values, batch.loss_mask, config.gamma, config.gae_lambda
            )
            # Each process holds a part of the batch; the moments are those of all of it.
            moments = run.processes.moments(advantages, batch.loss_mask)
            advantages = normalize(advantages, batch.loss_mask, *moments)
            run.learn(batch.with_targets(advantages, returns), loss_function)


if __name__ == "__main__":
    run_algorithm(train, PPOConfig)
