"""Shares of the time of training.

    python -m benchmarks.training

Runs PPO on the embedded world for a few updates with the bundled policy, about a minute on two
cores. Prints tokens a second of rollout and of update, the share of a step that generation,
environment and update take, and the peak of memory. Limit: environment and bookkeeping, below 5 %.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

import tyro

from agents.ppo import PPOConfig, train
from agents.training.metrics import read_metrics

WARM_UP = 1
"""Number of first updates that are not counted: they allocate memory."""


def main(updates: int = 6, questions_per_update: int = 256) -> None:
    """Train with PPO, and print where the time goes.

    Args:
        updates: number of updates, of which the first is not counted.
        questions_per_update: number of episodes of an update.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(
            PPOConfig(
                folder=run,
                updates=updates,
                questions_per_update=questions_per_update,
                num_test_questions=1,
                test_engines=(),
                save_every=updates,
            )
        )
        metrics = [m for m in read_metrics(run) if m["update"] > WARM_UP]

    def total(name: str) -> float:
        return sum(m[name] for m in metrics)

    seconds = total("time/update")
    generation, environment = total("time/generation"), total("time/environment")
    learning = total("time/score") + total("time/learn")
    sampled = sum(m["episodes"] * m["response_length"] for m in metrics)
    tokens = sum(m["episodes"] * m["length"] for m in metrics)
    print(f"update             {seconds / len(metrics):8.2f} s")
    print(f"episodes           {total('episodes') / seconds:8.1f} /s")
    print(f"rollout            {sampled / generation:8.0f} sampled tokens/s")
    print(f"update             {tokens / learning:8.0f} tokens/s, scored and learned from")
    print(f"generation         {generation / seconds:8.1%} of a step")
    print(f"environment        {environment / seconds:8.1%}")
    print(f"scoring, learning  {learning / seconds:8.1%}")
    print(f"other              {1 - (generation + environment + learning) / seconds:8.1%}")
    share = environment / seconds + 1 - (generation + environment + learning) / seconds
    print(f"environment and bookkeeping: {share:.1%} (limit 5 %)")
    # In kB on Linux, in bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory        {peak / (2**20 if sys.platform == 'darwin' else 2**10):8.0f} MB")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
