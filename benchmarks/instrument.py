"""Properties of the setting for comparisons, `agents/configs/instrument.json`.

    python -m benchmarks.instrument run [--seeds 0 1 2 3 4] [--folder runs/instrument]
    python -m benchmarks.instrument report [--folder runs/instrument]
    python -m benchmarks.instrument run --variants bm25 mild --seeds 0 1 2
    python -m benchmarks.instrument report --variants bm25 mild --seeds 0 1 2

`run` trains by PPO with each variant and seed, one process after the other on one core each, and
goes on where it stopped; start it twice for two cores, with other seeds. `report` judges the last
checkpoints on held-out questions, and prints how learning went, and the differences between
variants, paired by seed, with 95 % intervals (Student's t over seeds).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import tyro

from agents.ppo import PPOConfig
from agents.sampling.policy import load_policy
from agents.training.checkpoint import last_checkpoint
from agents.training.config_file import read_config
from agents.training.distributed import Processes
from agents.training.evaluation import evaluate, evaluation_figures
from agents.training.metrics import TIMING, evaluation_prefix, read_metrics
from zs_env.evaluation.statistics import Estimate, mean_of

PROPERTIES = ("masked", "documents", "noise", "high")
"""Variants that show what the setting can see."""

ON_SIMULATED = ["--engine", "simulated,model=world", "--test-engines", "bm25",
                "--noise", "exponential"]  # fmt: skip
VARIANTS = {
    "masked": [],
    "documents": ["--no-mask-documents"],
    "noise": ["--noise-start", "0.5", "--noise-end", "0.5"],
    "high": ["--noise-start", "0.75", "--noise-end", "0.75"],
    "bm25": ["--engine", "bm25", "--test-engines", "bm25"],
    "simulated": [*ON_SIMULATED, "--noise-end", "0.5"],
    "mild": [*ON_SIMULATED, "--noise-end", "0.25"],
}  # fmt: skip
"""Options beside the setting's: documents in the loss; 0.5 or 0.75 of all searches noisy; BM25; the
bundled simulation LLM with a curriculum of noise up to 0.5, and up to 0.25."""


class Difference(NamedTuple):
    """What is compared: a variant with another one, and how both are judged."""

    label: str
    variant: str
    other: str
    noise: float = 0.0
    greedy: bool = False


DIFFERENCES = (
    Difference("documents in the loss, against masked", "documents", "masked"),
    Difference("noise 0.75, against none", "high", "masked"),
    Difference("noise 0.5, against none, judged at 0.5", "noise", "masked", noise=0.5),
    Difference("simulation LLM, against BM25, on BM25", "simulated", "bm25"),
    Difference("the same, greedy", "simulated", "bm25", greedy=True),
    Difference("simulation LLM, noise up to 0.25, against BM25, on BM25", "mild", "bm25"),
    Difference("the same, greedy", "mild", "bm25", greedy=True),
)


def run_folder(folder: Path, variant: str, seed: int) -> Path:
    """Return the folder of a run."""
    return folder / f"{variant}-{seed}"


def run(folder: Path, variants: tuple[str, ...], seeds: tuple[int, ...], updates: int) -> None:
    """Train with every variant and seed that has not ended yet."""
    for seed in seeds:
        for variant in variants:
            target = run_folder(folder, variant, seed)
            command = [sys.executable, "-m", "agents.ppo", "--config", "instrument"]
            command += ["--folder", str(target), "--seed", str(seed), "--resume",
                        "--updates", str(updates)]  # fmt: skip
            command += VARIANTS[variant]
            print(" ".join(command[1:]), flush=True)
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def judge(target: Path, noise: float, *, greedy: bool = False) -> dict[str, float]:
    """Return the figures of the last checkpoint of a run under ``noise``; they are kept there."""
    kept = target / f"judged-{noise:g}{'-greedy' if greedy else ''}.json"
    if not kept.is_file():
        checkpoint = last_checkpoint(target / "checkpoints")
        if checkpoint is None:
            raise SystemExit(f"{target} has no checkpoint: call `run` first.")
        config = replace(read_config(target / "config.json", PPOConfig), num_test_questions=500)
        policy = load_policy(checkpoint, temperature=config.temperature)
        source = config.make_test_source(policy, config.test_engines[0])
        records = evaluate(policy, source, config, Processes("cpu"), noise=noise, greedy=greedy)
        kept.write_text(json.dumps(evaluation_figures(records)))
    figures: dict[str, float] = json.loads(kept.read_text())
    return figures


def curve_of(target: Path) -> dict[float, float]:
    """Return sampled F1 of the evaluations of a run, by update.

    Raises:
        SystemExit: it has none.
    """
    if not (target / "config.json").is_file():
        raise SystemExit(f"{target} holds no run: call `run` first.")
    engine = read_config(target / "config.json", PPOConfig).test_engines[0]
    name = evaluation_prefix(engine, "sampled") + "f1"
    curve = {m["update"]: m[name] for m in read_metrics(target) if name in m}
    if not curve:
        raise SystemExit(f"{target} has no evaluation with {name}: call `run` first.")
    return curve


def check_alike(curves: Mapping[Path, Mapping[float, float]]) -> None:
    """Check that runs were evaluated after the same updates.

    Raises:
        SystemExit: they were not, as if one has not ended.
    """
    (first, wanted), *others = curves.items()
    for target, curve in others:
        if list(curve) != list(wanted):
            raise SystemExit(
                f"{target} was evaluated after the updates {', '.join(map(str, curve))}, and "
                f"{first} after {', '.join(map(str, wanted))}: call `run` until all have ended."
            )


def seconds_of(target: Path) -> float:
    """Return the time that a run took, with its evaluations."""
    names = (TIMING + "update", TIMING + "evaluation")
    return sum(m.get(name, 0.0) for m in read_metrics(target) for name in names)


def report(folder: Path, variants: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    """Print how learning went, and the differences."""
    print("sampled F1 of held-out questions without noise, mean of seeds, and seconds of a run")
    for variant in variants:
        folders = [run_folder(folder, variant, seed) for seed in seeds]
        curves = {each: curve_of(each) for each in folders}
        check_alike(curves)
        mean = {update: sum(curve[update] for curve in curves.values()) / len(curves)
                for update in curves[folders[0]]}  # fmt: skip
        seconds = sum(map(seconds_of, folders)) / len(folders)
        shown = "  ".join(f"{update}: {f1:.3f}" for update, f1 in mean.items())
        print(f"  {variant:<10} {shown}   {seconds:.0f} s")
    print("F1 at the end, mean of seeds with its interval, and differences, paired by seed")
    for compared in DIFFERENCES:
        if compared.variant in variants and compared.other in variants:
            report_difference(folder, compared, seeds)


def report_difference(folder: Path, compared: Difference, seeds: tuple[int, ...]) -> None:
    """Judge both variants, and print what they reach and how far they are apart."""
    print(f"{compared.label}:")
    reached: list[list[float]] = []
    for variant in (compared.variant, compared.other):
        judged = [
            judge(run_folder(folder, variant, seed), compared.noise, greedy=compared.greedy)
            for seed in seeds
        ]
        reached.append([each["f1"] for each in judged])
        fooled = sum(each.get("fooled_share", 0.0) for each in judged) / len(judged)
        again = sum(each.get("noisy_asked_again_share", 0.0) for each in judged) / len(judged)
        more = f"   fooled {fooled:.2f}, asks again {again:.2f}" if compared.noise else ""
        print(f"  {variant:<10} {shown_estimate(mean_of(reached[-1]))}{more}")
    pairs = [one - other for one, other in zip(*reached, strict=True)]
    each_seed = ", ".join(f"{pair:+.3f}" for pair in pairs)
    print(f"  {'difference':<10} {shown_estimate(mean_of(pairs))}   ({each_seed})")


def shown_estimate(estimate: Estimate) -> str:
    """Return a mean with its 95 % interval."""
    low, high = estimate.interval or (float("nan"), float("nan"))
    return f"{estimate.mean:+.3f} ({low:+.3f} to {high:+.3f})"


def main(
    command: tyro.conf.Positional[Literal["run", "report"]],
    folder: Path = Path("runs/instrument"),
    variants: tuple[str, ...] = PROPERTIES,
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    updates: int = 50,
) -> None:
    """Train, or report.

    Args:
        command: what to do.
        folder: folder of the runs.
        variants: variants of the setting: masked, documents, noise, high, bm25, simulated, mild.
        seeds: seeds of the runs.
        updates: updates of a run.
    """
    if command == "run":
        run(folder, variants, seeds, updates)
    else:
        report(folder, variants, seeds)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
