"""Properties of the setting for comparisons, `agents/configs/instrument.json`.

    python -m benchmarks.instrument run [--seeds 0 1 2 3 4] [--folder runs/instrument]
    python -m benchmarks.instrument report [--folder runs/instrument]

`run` trains by PPO with each variant and seed, one process after the other on one core each, and
goes on where it stopped; start it twice for two cores, with other seeds. `report` judges the last
checkpoints on held-out questions, sampled at temperature 1, without noise and with half of the
searches noisy, and prints how learning went, and the differences between variants, paired by seed,
with 95 % intervals (Student's t over seeds).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import tyro

from agents.ppo import PPOConfig
from agents.sampling.policy import load_policy
from agents.training.checkpoint import last_checkpoint
from agents.training.config_file import find_config, read_config
from agents.training.distributed import Processes
from agents.training.evaluation import evaluate, evaluation_figures
from agents.training.metrics import TIMING, evaluation_prefix, read_metrics
from zs_env.evaluation.statistics import Estimate, mean_of

VARIANTS = {
    "masked": [],
    "documents": ["--no-mask-documents"],
    "noise": ["--noise-start", "0.5", "--noise-end", "0.5"],
    "high": ["--noise-start", "0.75", "--noise-end", "0.75"],
}
"""Options beside the setting's: documents in the loss; 0.5 or 0.75 of all searches noisy."""

NOISES = (0.0, 0.5)
DIFFERENCES = (
    ("documents in the loss, against masked", "documents", "masked", 0.0),
    ("noise 0.75, against none", "high", "masked", 0.0),
    ("noise 0.5, against none, judged at 0.5", "noise", "masked", 0.5),
)
"""What is compared: variant, variant it is compared with, noise they are judged under."""


def run_folder(folder: Path, variant: str, seed: int) -> Path:
    """Return the folder of a run."""
    return folder / f"{variant}-{seed}"


def run(folder: Path, variants: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    """Train with every variant and seed that has not ended yet."""
    for seed in seeds:
        for variant in variants:
            target = run_folder(folder, variant, seed)
            command = [sys.executable, "-m", "agents.ppo", "--config", "instrument"]
            command += ["--folder", str(target), "--seed", str(seed), "--resume"]
            command += VARIANTS[variant]
            print(" ".join(command[1:]), flush=True)
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def judge(target: Path, noise: float) -> dict[str, float]:
    """Return the figures of the last checkpoint of a run, sampled, under ``noise``; kept there."""
    kept = target / f"judged-{noise:g}.json"
    if not kept.is_file():
        checkpoint = last_checkpoint(target / "checkpoints")
        if checkpoint is None:
            raise SystemExit(f"{target} has no checkpoint: call `run` first.")
        config = replace(read_config(target / "config.json", PPOConfig), num_test_questions=500)
        policy = load_policy(checkpoint, temperature=config.temperature)
        source = config.make_test_source(policy, config.test_engines[0])
        records = evaluate(policy, source, config, Processes("cpu"), noise=noise, greedy=False)
        kept.write_text(json.dumps(evaluation_figures(records)))
    figures: dict[str, float] = json.loads(kept.read_text())
    return figures


def curve_of(target: Path, name: str) -> dict[float, float]:
    """Return the figure ``name`` of the evaluations of a run, by update.

    Raises:
        SystemExit: it has none.
    """
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
    engine = read_config(find_config("instrument"), PPOConfig).test_engines[0]
    print("sampled F1 of held-out questions without noise, mean of seeds, and seconds of a run")
    for variant in variants:
        folders = [run_folder(folder, variant, seed) for seed in seeds]
        curves = {each: curve_of(each, evaluation_prefix(engine, "sampled") + "f1")
                  for each in folders}  # fmt: skip
        check_alike(curves)
        mean = {update: sum(curve[update] for curve in curves.values()) / len(curves)
                for update in curves[folders[0]]}  # fmt: skip
        seconds = sum(map(seconds_of, folders)) / len(folders)
        shown = "  ".join(f"{update}: {f1:.3f}" for update, f1 in mean.items())
        print(f"  {variant:<10} {shown}   {seconds:.0f} s")
    print("judged at the end, sampled, mean of seeds with its interval")
    for variant in variants:
        for noise in NOISES:
            judged = [judge(run_folder(folder, variant, seed), noise) for seed in seeds]
            fooled = sum(j.get("fooled_share", 0.0) for j in judged) / len(judged)
            again = sum(j.get("noisy_asked_again_share", 0.0) for j in judged) / len(judged)
            f1 = shown_estimate(mean_of([j["f1"] for j in judged]))
            more = f"   fooled {fooled:.2f}, asks again {again:.2f}" if noise else ""
            print(f"  {variant:<10} noise {noise:g}   F1 {f1}{more}")
    print("differences of F1, paired by seed")
    for label, variant, other, noise in DIFFERENCES:
        if variant in variants and other in variants:
            pairs = [
                judge(run_folder(folder, variant, seed), noise)["f1"]
                - judge(run_folder(folder, other, seed), noise)["f1"]
                for seed in seeds
            ]
            each = ", ".join(f"{pair:+.3f}" for pair in pairs)
            print(f"  {label:<40} {shown_estimate(mean_of(pairs))}   ({each})")


def shown_estimate(estimate: Estimate) -> str:
    """Return a mean with its 95 % interval."""
    low, high = estimate.interval or (float("nan"), float("nan"))
    return f"{estimate.mean:+.3f} ({low:+.3f} to {high:+.3f})"


def main(
    command: tyro.conf.Positional[Literal["run", "report"]],
    folder: Path = Path("runs/instrument"),
    variants: tuple[str, ...] = tuple(VARIANTS),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
) -> None:
    """Train, or report.

    Args:
        command: what to do.
        folder: folder of the runs.
        variants: variants of the setting: masked, documents, noise, high.
        seeds: seeds of the runs.
    """
    (run if command == "run" else report)(folder, variants, seeds)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
