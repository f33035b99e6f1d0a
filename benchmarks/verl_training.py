"""What training with verl reaches on a CPU: its own `main_ppo`, with FSDP2, Ray and the adapter.

    make test-verl                                                 # makes .venvs/ray
    .venvs/ray/bin/python -m benchmarks.verl_training grpo         # 15 steps
    .venvs/ray/bin/python -m benchmarks.verl_training ppo          # with a critic: needs a GPU
    .venvs/ray/bin/python -m benchmarks.verl_training failing      # 20 steps, 10 % of searches fail

The bundled policy trains on 80 episodes a step, five for each of 16 questions. `grpo` prints reward
and held-out F1 before and after, and fails if F1 does not rise by 0.3. `failing` fails if an
episode whose search failed is counted anywhere. All fail if the log-probabilities of trainer and
rollout are more than 1e-4 apart.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tyro

from agents.tiny import MODEL
from benchmarks.verl_cpu.run import CRITIC, Log, train
from zs_env.adapters.verl import prepare

QUESTIONS, MEMBERS = 16, 5
EPISODES: dict[str, Any] = {
    "questions": "world",
    "engine": "world,mixture=natural",
    "test_engine": "world",
    "top_k": 2,
    "document_words": 12,
    "max_turn_tokens": 64,
    "noise_end": 0.25,
    "max_prompt_length": 256,
    "max_response_length": 512,
}
FAILING = {"engine": "zs_env.testing:FailingEngine,share=0.1"}
LEAST_GAIN = 0.3
LARGEST_GAP = 1e-4
GAP = "training/rollout_probs_diff_max"
TEST_F1 = "val-aux/search/f1/mean@1"

OPTIONS: dict[str, Any] = {
    "data.train_batch_size": QUESTIONS,
    "actor_rollout_ref.rollout.n": MEMBERS,
    "actor_rollout_ref.actor.ppo_mini_batch_size": QUESTIONS,
    "actor_rollout_ref.actor.optim.lr": 1e-3,
    "actor_rollout_ref.actor.optim.weight_decay": 0.0,
    "trainer.val_before_train": True,
}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "grpo": {"algorithm.adv_estimator": "grpo"},
    "ppo": {
        **CRITIC,
        "algorithm.adv_estimator": "gae",
        "critic.model.path": str(MODEL),
        "critic.optim.lr": 1e-3,
        "critic.ppo_max_token_len_per_gpu": 65536,
    },
}


class Outcome(NamedTuple):
    """What a run reached."""

    log: Log
    steps: Log

    @property
    def tests(self) -> list[float]:
        """Held-out greedy F1, of each validation."""
        return [line[TEST_F1] for line in self.log if TEST_F1 in line]

    @property
    def gap(self) -> float:
        """Largest difference of the probabilities of trainer and rollout."""
        return max(line[GAP] for line in self.steps)

    def describe(self) -> None:
        """Print the figures."""
        first, last = self.steps[0], self.steps[-1]
        seconds = np.mean([line["perf/time_per_step"] for line in self.steps])
        print(f"reward             {first['search/reward']:.3f} -> {last['search/reward']:.3f}")
        print(f"held-out greedy F1 {self.tests[0]:.3f} -> {self.tests[-1]:.3f}")
        print(f"steps              {len(self.steps)}, of {seconds:.1f} s")
        print(f"largest difference of probabilities {self.gap:.1e} (limit {LARGEST_GAP:.0e})")


def run(algorithm: str, steps: int, num_test: int, **changes: Any) -> Outcome:
    """Train with ``algorithm``, and read the log."""
    with tempfile.TemporaryDirectory() as folder:
        config = prepare(Path(folder), str(MODEL), **{**EPISODES, **changes})
        log = train(
            config,
            {
                **OPTIONS,
                **ALGORITHMS[algorithm],
                "trainer.total_training_steps": steps,
                "trainer.test_freq": steps,
                "data.val_max_samples": num_test,
            },
        )
    return Outcome(log, [line for line in log if "search/reward" in line])


def failing(steps: int, num_test: int) -> bool:
    """Train while searches fail; return whether the failed ones are counted nowhere."""
    outcome = run("grpo", steps, num_test, **FAILING)
    outcome.describe()
    failed = [line["search/failed_searches"] for line in outcome.steps]
    print(f"episodes left out  {failed}")
    # What verl counts itself are the same episodes as ours.
    same = all(
        abs(line["critic/score/mean"] - line["search/reward"]) < 1e-5 for line in outcome.steps
    )
    print(f"verl's mean reward is that of the episodes that did not fail: {same}")
    return same and len(outcome.steps) == steps and sum(failed) > 0


def main(
    what: tyro.conf.Positional[Literal["grpo", "ppo", "failing"]],
    steps: int | None = None,
    num_test_questions: int = 200,
) -> None:
    """Measure training with verl.

    Args:
        what: what to measure.
        steps: number of steps: by default 15, and 20 for the failing engine.
        num_test_questions: number of held-out questions.
    """
    if what == "failing":
        reached = failing(steps or 20, num_test_questions)
    else:
        outcome = run(what, steps or 15, num_test_questions)
        outcome.describe()
        gained = outcome.tests[-1] - outcome.tests[0] >= LEAST_GAIN
        reached = outcome.gap <= LARGEST_GAP and (gained or what == "ppo")
    sys.exit(not reached)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
