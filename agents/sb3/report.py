"""Report of a run of Stable-Baselines3: its evaluations and curves."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.sb3.evaluation import Evaluation
from zs_env.report.pages import write_page
from zs_env.report.plots import Figures, draw

TOKENS = "time/total_timesteps"
BLIND = "never searching, at most"

# File -> title, and the figures it shows with their labels.
CURVES: dict[str, tuple[str, dict[str, str]]] = {
    "f1": (
        "F1",
        {
            "eval/f1": "held-out questions, greedy, no noise",
            "rollout/ep_rew_mean": "questions of training, sampled",
        },
    ),
    "searches": ("Searches an episode, greedy", {"eval/searches": "held-out questions"}),
    "entropy": ("Minus the entropy of the policy, nats a token", {"train/entropy_loss": "mean"}),
}


def write_report(
    folder: Path,
    options: Mapping[str, Any],
    blind_f1: float,
    evaluations: Mapping[str, Evaluation],
) -> Path:
    """Write ``folder/report.md`` and its pictures from ``folder/progress.csv``; return the page.

    Args:
        folder: folder of the run.
        options: options of the run.
        blind_f1: F1 of the best policy that never searches.
        evaluations: evaluations by label, in the order to show.
    """
    figures = _read(folder / "progress.csv")
    pictures = [
        draw(
            folder / f"{name}.png",
            figures,
            *CURVES[name],
            x=TOKENS,
            x_label="tokens",
            levels={BLIND: blind_f1} if name == "f1" else None,
        )
        for name in CURVES
    ]
    lines = [
        "Questions about facts that training never sees, greedy, no noise:",
        "",
        "| | F1 | searches an episode |",
        "|---|---|---|",
        f"| {BLIND} | {blind_f1:.3f} | 0.00 |",
        *(f"| {name} | {e.f1:.3f} | {e.searches:.2f} |" for name, e in evaluations.items()),
    ]
    return write_page(folder, lines, pictures, options)


def _read(path: Path) -> list[Figures]:
    """Return the rows of SB3's CSV file, without the cells that are empty."""
    with path.open(newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]
