"""Time of an update with the bundled simulation LLM, as a multiple of one with BM25.

    python -m benchmarks.simulated_update

Trains by PPO on BM25 until the policy searches, then goes on from there with either engine in turn,
and compares the updates of each round: the same questions and seeds, minutes apart on one machine.
Limit: 1.3.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import tyro

from agents.ppo import PPOConfig, train
from agents.training.checkpoint import last_checkpoint
from agents.training.metrics import read_metrics

REAL, SIMULATED = "bm25", "simulated,model=world"

LIMIT = 1.3


def main(rounds: int = 3, updates: int = 3, warm_up: int = 8) -> None:
    """Measure, and print the ratio of each round and their median.

    Args:
        rounds: rounds, in which each engine has its turn.
        updates: updates of a turn, of which the first is not counted: it loads the engine.
        warm_up: updates before, on BM25.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start"
        _train(start, "tiny", REAL, warm_up, seed=0)
        policy = str(last_checkpoint(start / "checkpoints"))
        ratios = []
        for number in range(rounds):
            found: dict[str, dict[str, float]] = {}
            for engine in (REAL, SIMULATED) if number % 2 else (SIMULATED, REAL):
                run = Path(folder) / f"{number}-{len(found)}"
                found[engine] = _train(run, policy, engine, updates, seed=number)
            ratios.append(found[SIMULATED]["seconds"] / found[REAL]["seconds"])
            for engine, figures in found.items():
                print(f"{engine:22} {figures['seconds']:6.2f} s an update, "
                      f"{figures['searches']:4.2f} searches an episode")  # fmt: skip
    ratio = statistics.median(ratios)
    print(f"ratio of each round: {', '.join(f'{each:.2f}' for each in ratios)}")
    print(f"median {ratio:.2f}, limit {LIMIT}")
    if ratio > LIMIT:
        sys.exit(1)


def _train(folder: Path, model: str, engine: str, updates: int, seed: int) -> dict[str, float]:
    """Train, and return the means of updates after the first."""
    train(
        PPOConfig(
            folder=folder,
            model=model,
            engine=engine,
            seed=seed,
            updates=updates,
            num_test_questions=1,
            test_engines=(),
            save_every=updates,
        )
    )
    counted = [m for m in read_metrics(folder) if m.get("update", 0) > 1 and "reward" in m]
    return {
        "seconds": statistics.mean(m["time/update"] for m in counted),
        "searches": statistics.mean(m["searches"] for m in counted),
    }


if __name__ == "__main__":
    tyro.cli(main)
