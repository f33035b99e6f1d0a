"""A scripted agent solves three questions of the embedded world.

    python -m examples.quickstart [--engine bm25] [--noise 0.3]

Takes a second. Prints each transcript in colour as it grows (the agent in green, documents in
cyan, noisy documents in magenta), and how each episode ended.
"""

from __future__ import annotations

import argparse

import gymnasium as gym

import zs_env  # noqa: F401  (registers ZeroSearch-v0)
from zs_env.world import load_world
from zs_env.world.solver import HopByHopSolver


def main() -> None:
    """Play three episodes."""
    parser = argparse.ArgumentParser(description="A scripted agent solves three questions.")
    parser.add_argument("--engine", default="world", help="engine: world, or bm25, a real one")
    parser.add_argument("--noise", type=float, default=0.0, help="share of noisy searches, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="seed of the questions")
    arguments = parser.parse_args()

    env = gym.make(
        "ZeroSearch-v0",
        split="test",
        engine=arguments.engine,
        noise="constant",
        noise_end=arguments.noise,
        top_k=3,
        render_mode="human",
    )
    agent = HopByHopSolver(load_world())
    rewards = []
    for episode in range(3):
        # Only the first reset needs a seed: the others continue its order of questions.
        observation, info = env.reset(seed=arguments.seed if episode == 0 else None)
        terminated = truncated = False
        while not (terminated or truncated):
            action = agent(observation)
            observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(float(reward))
        print()
    env.close()
    print(f"mean reward {sum(rewards) / len(rewards):.2f} over {len(rewards)} episodes")


if __name__ == "__main__":
    main()
