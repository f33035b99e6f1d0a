"""RLlib's PPO on the token environment, with RLlib's own module for action masks.

    python -m examples.rllib_action_masking

Takes 45 seconds; prints reward and length of episodes. RLlib's module reads the mask from the
observation, so it is put there. Beside it, RLlib's default network sees only the last tokens, and
learns to guess, not to read: this shows how the pieces fit. RLlib requires an older Gymnasium, but
works with the newer one: `make test-rllib` installs both into `.venvs/ray`.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.examples.rl_modules.classes.action_masking_rlm import ActionMaskingTorchRLModule
from ray.tune.registry import register_env

from zs_env.envs.token_env import ZeroSearchTokenEnv

NUM_SHOWN = 4
TASK: dict[str, Any] = {
    "world_size": "tiny",
    "context_length": 96,
    "max_turn_tokens": 12,
    "max_turns": 2,
    "masked_action": "error",
}


def make_env(config: dict[str, Any]) -> gym.Env[Any, Any]:
    """Make a token environment with its mask in the observation."""
    env = ZeroSearchTokenEnv(**config)
    vocabulary = np.eye(int(env.setup.action_space.n), dtype=np.float32)  # one-hot codes, (V, V)

    def show(observation: dict[str, Any]) -> dict[str, Any]:
        length = int(observation["length"][0])
        last = observation["tokens"][max(length - NUM_SHOWN, 0) : length]
        return {
            "action_mask": env.action_masks().astype(np.float32),
            "observations": vocabulary[last].reshape(-1),
        }

    space = gym.spaces.Dict(
        action_mask=gym.spaces.Box(0.0, 1.0, (len(vocabulary),)),
        observations=gym.spaces.Box(0.0, 1.0, (NUM_SHOWN * len(vocabulary),)),
    )
    return gym.wrappers.TransformObservation(env, show, space)


def main() -> None:
    """Train, and print the figures of each iteration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=60, help="iterations of 2,048 tokens")
    options = parser.parse_args()
    register_env("ZeroSearchToken", make_env)
    config = (
        PPOConfig()
        .environment("ZeroSearchToken", env_config=TASK)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=ActionMaskingTorchRLModule))
        .training(train_batch_size_per_learner=2048, minibatch_size=512, num_epochs=3, lr=1e-3)
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    for iteration in range(options.iterations):
        episodes = algorithm.train()["env_runners"]
        print(
            f"iteration {iteration + 1:>2}: reward {episodes['episode_return_mean']:.3f}, "
            f"{episodes['episode_len_mean']:.1f} tokens an episode"
        )
    algorithm.stop()


if __name__ == "__main__":
    main()
