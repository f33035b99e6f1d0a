"""Adapter to `GRPOTrainer` of TRL: its ``rollout_func``, data sets, reward and callback."""

from zs_env.adapters.trl.rollouts import SearchRollouts

__all__ = ["SearchRollouts"]
