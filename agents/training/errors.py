"""Errors that stop a training run."""

from __future__ import annotations

from zs_env.errors import ZeroSearchError


class TrainingError(ZeroSearchError):
    """Training diverged, or cannot go on; the message says what to change."""


class CheckpointError(ZeroSearchError):
    """A checkpoint, or another file of a run's folder, cannot be written or read."""
