"""Registration of the environments with Gymnasium."""

from __future__ import annotations

import gymnasium as gym

ENV_IDS = ("ZeroSearch-v0", "ZeroSearchToken-v1")


def register_envs() -> None:
    """Register the environments; a second call changes nothing."""
    if "ZeroSearch-v0" not in gym.registry:
        gym.register(
            id="ZeroSearch-v0",
            entry_point="zs_env.envs.text_env:ZeroSearchEnv",
            vector_entry_point="zs_env.envs.text_vector_env:ZeroSearchVectorEnv",
        )
    if "ZeroSearchToken-v1" not in gym.registry:
        gym.register(
            id="ZeroSearchToken-v1",
            entry_point="zs_env.envs.token_env:ZeroSearchTokenEnv",
            vector_entry_point="zs_env.envs.token_vector_env:ZeroSearchTokenVectorEnv",
        )
