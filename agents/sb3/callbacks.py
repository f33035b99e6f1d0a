"""Callbacks for the training of Stable-Baselines3."""

from __future__ import annotations

import time

from stable_baselines3.common.callbacks import BaseCallback

from agents.sb3.evaluation import Evaluation, evaluate
from agents.sb3.vec_env import TokenVecEnv


class ProgressCallback(BaseCallback):
    """Callback that tells the environments the progress of training, for the curriculum."""

    def _on_rollout_start(self) -> None:
        self.training_env.env_method("set_progress", min(self._share(), 1.0))

    def _on_step(self) -> bool:
        return True

    def _share(self) -> float:
        return self.num_timesteps / max(self.model._total_timesteps, 1)


class EvaluationCallback(BaseCallback):
    """Callback that plays the test questions before training, at intervals, and after it.

    The figures go into the model's logger, as ``eval/f1`` and ``eval/searches``.

    Args:
        test: environments from `agents.sb3.evaluation.make_test_env`.
        every: tokens between evaluations.

    Attributes:
        newest: last evaluation; it exists as soon as training begins.
    """

    newest: Evaluation

    def __init__(self, test: TokenVecEnv, every: int = 20_000) -> None:
        super().__init__()
        self._test = test
        self._every = every

    def _on_training_start(self) -> None:
        self._next = self.num_timesteps
        self._start = time.monotonic()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._next:
            self._next = self.num_timesteps + self._every
            self.evaluate()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self.evaluate()

    def evaluate(self) -> None:
        """Play the test questions; log and print the figures."""
        f1, searches = self.newest = evaluate(self.model, self._test)
        self.logger.record("eval/f1", f1)
        self.logger.record("eval/searches", searches)
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)
        elapsed = time.monotonic() - self._start
        print(
            f"{elapsed:5.0f} s {self.num_timesteps:>9,} tokens  test F1 {f1:.3f}"
            f"  {searches:.2f} searches an episode"
        )
