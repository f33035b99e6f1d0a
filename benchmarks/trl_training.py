"""What training with TRL reaches, and beside `agents.grpo`.

    make test-trl                                               # makes .venvs/trl
    .venvs/trl/bin/python -m benchmarks.trl_training curve      # 40 updates, a quarter of an hour
    .venvs/trl/bin/python -m benchmarks.trl_training compare    # 10 updates, three seeds, both

Both train the bundled policy on 100 episodes an update, five for each of 20 questions, and are
asked the same held-out questions, greedily. `curve` prints F1 before and after, and fails below
0.8. `compare` prints mean F1 over seeds and seconds an update of both, and fails if their F1 is
more than 0.05 apart. Times are on two cores.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tyro

from agents.grpo import GRPOConfig, train
from agents.tiny import MODEL
from agents.training.metrics import TIMING, read_metrics

QUESTIONS, MEMBERS = 20, 5
EPISODES: dict[str, Any] = {
    "questions": "world",
    "engine": "world,mixture=natural",
    "top_k": 2,
    "document_words": 12,
    "max_turn_tokens": 64,
    "noise_end": 0.25,
}
TEST_ENGINE = "world"
LEAST_F1 = 0.8
LARGEST_DIFFERENCE = 0.05


class Outcome(NamedTuple):
    """Greedy F1 on held-out questions before and after training, and seconds an update."""

    before: float
    after: float
    seconds: float


def train_with_trl(folder: Path, seed: int, updates: int, num_test: int) -> Outcome:
    """Train with TRL's GRPOTrainer; it samples as `agents.grpo` does, and its loss is the same."""
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig as TRLConfig
    from trl import GRPOTrainer

    from zs_env.adapters.trl import SearchRollouts
    from zs_env.tokens.tokenizers import read_tokenizer

    args = TRLConfig(
        output_dir=str(folder / "trl"),
        max_steps=updates,
        seed=seed,
        per_device_train_batch_size=QUESTIONS * MEMBERS,
        per_device_eval_batch_size=100,
        num_generations=MEMBERS,
        num_generations_eval=1,
        max_completion_length=512,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        beta=0.0,
        gradient_checkpointing=False,
        use_cpu=True,
        bf16=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    tokenizer = read_tokenizer(MODEL)
    search = SearchRollouts(args, tokenizer, **EPISODES, test_engine=TEST_ENGINE)
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(MODEL),
        args=args,
        processing_class=tokenizer,
        train_dataset=search.train_dataset(),
        eval_dataset=search.test_dataset().select(range(num_test)),
        rollout_func=search.rollout,
        reward_funcs=search.reward,
        callbacks=[search.callback],
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    seconds = [line["step_time"] for line in trainer.state.log_history if "loss" in line]
    search.close()
    name = "eval_search/f1"
    return Outcome(before[name], after[name], float(np.mean(seconds)))


def train_with_grpo(folder: Path, seed: int, updates: int, num_test: int) -> Outcome:
    """Train with `agents.grpo`, without what TRL has not: the KL divergence, the fall of rates."""
    run = folder / "grpo"
    train(
        GRPOConfig(
            **EPISODES,
            folder=run,
            updates=updates,
            seed=seed,
            questions_per_update=QUESTIONS,
            group_size=MEMBERS,
            minibatches=1,
            learning_rate_decay=0.0,
            kl_coef=0.0,
            test_engines=(TEST_ENGINE,),
            num_test_questions=num_test,
            evaluate_every=updates,
            save_every=updates,
        )
    )
    metrics = read_metrics(run)
    tests = [m[f"test/{TEST_ENGINE}/f1"] for m in metrics if f"test/{TEST_ENGINE}/f1" in m]
    seconds = [m[TIMING + "update"] for m in metrics if TIMING + "update" in m]
    return Outcome(tests[0], tests[-1], float(np.mean(seconds)))


TRAINERS = {"TRL": train_with_trl, "agents.grpo": train_with_grpo}


def curve(updates: int, num_test: int, seed: int) -> bool:
    """Train with TRL, and print F1 before and after; return whether it is high enough."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = train_with_trl(Path(folder), seed, updates, num_test)
    print(f"held-out greedy F1 {outcome.before:.3f} -> {outcome.after:.3f} in {updates} updates")
    print(f"seconds an update  {outcome.seconds:.1f}")
    return outcome.after >= LEAST_F1


def compare(updates: int, num_test: int, seeds: Sequence[int]) -> bool:
    """Train with both, and print their figures; return whether they agree."""
    means: list[float] = []
    print("| trainer | F1 before | F1 after, by seed | mean | seconds an update |")
    print("|---|---|---|---|---|")
    for name, trained in TRAINERS.items():
        outcomes = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                outcomes.append(trained(Path(folder), seed, updates, num_test))
        means.append(float(np.mean([outcome.after for outcome in outcomes])))
        by_seed = ", ".join(f"{outcome.after:.3f}" for outcome in outcomes)
        seconds = float(np.mean([outcome.seconds for outcome in outcomes]))
        print(
            f"| {name} | {outcomes[0].before:.3f} | {by_seed} | {means[-1]:.3f} | {seconds:.1f} |"
        )
    difference = abs(means[0] - means[1])
    print(f"difference {difference:.3f} (limit {LARGEST_DIFFERENCE})")
    return difference <= LARGEST_DIFFERENCE


def main(
    what: tyro.conf.Positional[Literal["curve", "compare"]],
    updates: int | None = None,
    num_test_questions: int = 500,
    seeds: tuple[int, ...] = (0, 1, 2),
) -> None:
    """Measure training with TRL.

    Args:
        what: what to measure.
        updates: number of updates: by default 40 for the curve, 10 to compare.
        num_test_questions: number of held-out questions.
        seeds: seeds to compare with; the curve takes the first.
    """
    if what == "curve":
        reached = curve(updates or 40, num_test_questions, seeds[0])
    else:
        reached = compare(updates or 10, num_test_questions, seeds)
    sys.exit(not reached)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
