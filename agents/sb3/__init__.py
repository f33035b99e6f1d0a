"""Stable-Baselines3 on the token environment: MaskablePPO, and behaviour cloning for its start."""

from agents.sb3.callbacks import EvaluationCallback, ProgressCallback
from agents.sb3.policy import TokenFeatures, TokenPolicy
from agents.sb3.vec_env import TokenVecEnv

__all__ = ["EvaluationCallback", "ProgressCallback", "TokenFeatures", "TokenPolicy", "TokenVecEnv"]
