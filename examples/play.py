"""Play an episode in the terminal, in place of the policy.

    python -m examples.play [--engine bm25] [--split test] [--noise 0.3]

Type a query to search, or "= " and your answer, for example "= Lima". Text with the tags of the
template is passed on unchanged. An empty line or Ctrl-D quits. Prints the transcript as it grows.
"""

from __future__ import annotations

import argparse

import gymnasium as gym

import zs_env
from zs_env.actions import ANSWER, SEARCH, TAG_NAMES, tagged


def to_action(line: str) -> str:
    """Return the turn that a typed line stands for."""
    if any(f"<{name}>" in line for name in TAG_NAMES):
        return line
    if line.startswith("="):
        return tagged(ANSWER, line.removeprefix("=").strip())
    return tagged(SEARCH, line)


def play(env: gym.Env[str, str], seed: int | None) -> None:
    """Play one episode, until it ends or the player quits."""
    env.reset(seed=seed)
    over = False
    while not over:
        try:
            line = input("\nquery, or = answer > ").strip()
        except (EOFError, KeyboardInterrupt):
            line = ""
        if not line:
            print("\nbye")
            return
        _, _, terminated, truncated, _ = env.step(to_action(line))
        over = terminated or truncated


def main() -> None:
    """Make the environment and play."""
    parser = argparse.ArgumentParser(
        description="Play an episode: type a query, or '= ' and your answer."
    )
    parser.add_argument("--engine", default="world", help="engine: world, or bm25, a real one")
    parser.add_argument("--split", default="train", help="split: train or test")
    parser.add_argument("--noise", type=float, default=0.0, help="share of noisy searches, 0 to 1")
    parser.add_argument("--seed", type=int, default=None, help="seed of the question")
    arguments = parser.parse_args()
    try:
        env = gym.make(
            "ZeroSearch-v0",
            engine=arguments.engine,
            split=arguments.split,
            noise="constant",
            noise_end=arguments.noise,
            render_mode="human",
        )
    except (ValueError, zs_env.ZeroSearchError) as error:
        parser.error(str(error))
    play(env, arguments.seed)
    env.close()


if __name__ == "__main__":
    main()
