"""Errors of samplers outside of this program."""

from __future__ import annotations

from zs_env.errors import ZeroSearchError


class SamplerError(ZeroSearchError):
    """The sampler cannot be used, has died, or has other weights than the learner."""
