"""Errors that stop a training run."""

from __future__ import annotations

from zs_env.errors import ZeroSearchError


class TrainingError(ZeroSearchError):
    """Training has diverged, or cannot continue; the message says what to change."""


class CheckpointError(ZeroSearchError):
    """A checkpoint or another file in the folder of a run cannot be written or read."""
