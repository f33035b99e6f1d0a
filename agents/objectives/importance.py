"""Importance weights for tokens that were drawn by another program than the learner."""

from __future__ import annotations

from torch import Tensor


def truncated_weights(
    old_log_probs: Tensor, sampled_log_probs: Tensor, mask: Tensor, cap: float
) -> Tensor:
    """Return min(p_learner / p_sampler, cap) of each token, 1 where ``mask`` is False.

    A sampler with other kernels or another precision draws from slightly another distribution than
    the learner computes gradients of. The weight corrects for it, and the cap bounds its variance:
    truncated importance sampling, as in IMPALA (Espeholt et al. 2018, arXiv 1802.01561) and, for
    this use, in Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL
    Training". It multiplies the loss of the token. The losses here are linear in the advantages for
    weights of at least 0, so that it can multiply the advantage as well.

    Args:
        old_log_probs: log-probabilities by the learner before the update, (B, T), float32.
        sampled_log_probs: log-probabilities by the sampler, (B, T), float32.
        mask: True for tokens that were sampled, (B, T), bool.
        cap: largest weight.

    Returns:
        The weights, (B, T), float32, without gradients.
    """
    ratio = (old_log_probs - sampled_log_probs).where(mask, 0.0).exp()
    return ratio.clamp(max=cap).where(mask, 1.0).detach()
