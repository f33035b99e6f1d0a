"""Report of a run: figures before and after training, and curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from agents.training.metrics import TIMING, Metrics, read_metrics
from zs_env.report.pages import write_page
from zs_env.report.plots import draw

BEFORE_AFTER = {
    "f1": "F1",
    "exact_match": "exact match",
    "searches": "searches an episode",
    "turns": "turns an episode",
    "invalid_share": "invalid turns",
    "response_length": "policy tokens an episode",
}

# File -> title, and the figures it shows with their labels.
CURVES: dict[str, tuple[str, dict[str, str]]] = {
    "reward": ("Reward of the episodes played", {"reward": "mean"}),
    "turns": ("Turns and searches an episode", {"turns": "turns", "searches": "searches"}),
    "noise": (
        "Noisy searches",
        {"noise_probability": "probability", "noisy_share": "share drawn"},
    ),
    "invalid": ("Invalid turns", {"invalid_share": "share"}),
    "length": ("Tokens an episode", {"response_length": "by the policy", "length": "all"}),
    "kl": ("KL divergence, nats a token", {"kl": "from the base", "approx_kl": "of the update"}),
    "entropy": ("Entropy of the policy, nats a token", {"entropy": "mean"}),
    "clip_fraction": ("Tokens that were clipped", {"clip_fraction": "share"}),
}


def write_report(folder: Path) -> Path:
    """Write ``folder/report.md`` and its pictures from the run's metrics; return the page."""
    metrics = read_metrics(folder)
    config = json.loads((folder / "config.json").read_text())
    engines = list(config["test_engines"])
    pictures = [_draw_test(folder, metrics, engines)]
    pictures += [
        draw(folder / f"{name}.png", metrics, *CURVES[name], x="update", x_label="update")
        for name in CURVES
    ]
    lines = [*_summary(metrics, config), "", *comparison(metrics, engines)]
    return write_page(folder, lines, pictures, config)


def _summary(metrics: Sequence[Metrics], config: dict[str, object]) -> list[str]:
    trained = [each for each in metrics if each["update"] > 0]
    evaluating = sum(each.get(TIMING + "evaluation", 0.0) for each in metrics)
    seconds = evaluating + sum(each.get(TIMING + "update", 0.0) for each in metrics)
    episodes = sum(each["episodes"] for each in trained)
    return [
        f"{len(trained)} of {config['updates']} updates, {episodes:,.0f} episodes, "
        f"{seconds / 60:.1f} minutes, of which evaluation took {evaluating / 60:.1f}. Searches get "
        f"{config['top_k']} documents of about {config['document_words']} words "
        "(the paper: 5 of 30).",
    ]


def comparison(metrics: Sequence[Metrics], engines: Sequence[str]) -> list[str]:
    """Return the lines of a table: figures on held-out questions before and after training."""
    tested = [each for each in metrics if f"test/{engines[0]}/f1" in each] if engines else []
    if not tested:
        return ["No evaluation was made."]
    first, last = tested[0], tested[-1]
    lines = [
        "Held-out questions, greedy, no noise:",
        "",
        f"| engine | | before | after {last['update']:.0f} updates |",
        "|---|---|---|---|",
    ]
    for engine in engines:
        for name, label in BEFORE_AFTER.items():
            key = f"test/{engine}/{name}"
            lines.append(f"| {engine} | {label} | {first[key]:.3f} | {last[key]:.3f} |")
    return lines


def _draw_test(folder: Path, metrics: Sequence[Metrics], engines: Sequence[str]) -> Path | None:
    series = {f"test/{engine}/f1": engine for engine in engines}
    title = "F1 on held-out questions, greedy, no noise"
    path = folder / "test_f1.png"
    return draw(path, metrics, title, series, x="update", x_label="update", marker=".")
