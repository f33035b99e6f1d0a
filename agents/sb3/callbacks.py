"""Callbacks for the training of Stable-Baselines3."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback


class ProgressCallback(BaseCallback):
    """Tells the environments how far training is, so that documents get noisier."""

    def _on_rollout_start(self) -> None:
        self.training_env.env_method("set_progress", min(self._share(), 1.0))

    def _on_step(self) -> bool:
        return True

    def _share(self) -> float:
        return self.num_timesteps / max(self.model._total_timesteps, 1)
