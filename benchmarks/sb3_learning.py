"""MaskablePPO of sb3-contrib learns to search and to read, without demonstrations.

    python -m benchmarks.sb3_learning

Trains on 150,000 tokens of the tiny world, two minutes on two cores. Limits: at least twice the F1
of the best guess without a search, and 0.9 searches an episode.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import tyro

from agents.sb3.__main__ import Options, train
from zs_env.world import load_world
from zs_env.world.blind import blind_scores, mean_score


def main(steps: int = 150_000, seed: int = 2) -> None:
    """Train, and print the figures of the test questions.

    Args:
        steps: number of tokens.
        seed: seed of the run.
    """
    with tempfile.TemporaryDirectory() as folder:
        f1, searches = train(Options(folder=Path(folder), steps=steps, seed=seed))
    blind_f1, _ = mean_score(blind_scores(load_world(0, "tiny"), "test").values())
    print(f"F1 {f1:.3f}, without a search at most {blind_f1:.3f}; {searches:.2f} searches")
    if f1 < 2 * blind_f1 or searches <= 0.9:
        sys.exit(1)


if __name__ == "__main__":
    tyro.cli(main)
