"""Report of fine-tuning: held-out losses before and after, and curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from agents.training.metrics import TIMING, Metrics, read_metrics
from zs_env.report.pages import write_page
from zs_env.report.plots import draw

LOSSES = {
    "held_out/loss": "all tokens",
    "held_out/useful_loss": "useful",
    "held_out/noisy_loss": "noisy",
    "held_out/golden_loss": "golden answers",
    "held_out/stated_loss": "stated names",
}
"""Rows of the table, and curves, by figure."""


def line_of(metrics: Metrics, steps: int) -> str:
    """Return the line that is shown of some of ``steps`` steps."""
    cells = [f"loss {metrics['loss']:.4f}"] if "loss" in metrics else []
    cells += [f"held-out {LOSSES[n]} {metrics[n]:.4f}" for n in LOSSES if n in metrics]
    if "pairs" in metrics:
        cells.append(f"{metrics['pairs']:,.0f} pairs, {metrics['pairs_left_out']:,.0f} too long")
    if TIMING + "tokens_per_s" in metrics:
        cells.append(f"{metrics[TIMING + 'tokens_per_s']:,.0f} tokens/s")
    return f"step {metrics['step']:>5.0f} of {steps}  " + "  ".join(cells)


def begin_of(counts: Metrics, steps: int) -> str:
    """Return what is said before the first evaluation, which may take minutes."""
    held_out = counts.get("held_out", 0.0)
    measured = f"{held_out:,.0f} held-out pairs are measured first" if held_out else "none held out"
    pairs, tokens = counts["pairs"], counts["pairs_tokens"]
    return f"{pairs:,.0f} pairs of {tokens:,.0f} tokens, {steps:,} steps; {measured}"


def write_report(folder: Path) -> Path:
    """Write ``folder/report.md`` and its pictures from the run's metrics; return the page."""
    metrics = read_metrics(folder, "step")
    config = json.loads((folder / "config.json").read_text())
    along = partial(draw, figures=metrics, x="step", x_label="step")
    loss = {"loss": "pairs to learn"}
    pictures = [
        along(folder / "loss.png", title="Loss, nats a token", series=loss),
        along(folder / "held_out.png", title="Held-out loss", series=LOSSES, marker="."),
    ]
    return write_page(folder, [*_summary(metrics), "", *_table(metrics)], pictures, config)


def _summary(metrics: Sequence[Metrics]) -> list[str]:
    first = metrics[0]
    steps = metrics[-1]["step"]
    lines = [f"{steps:,.0f} steps."]
    for name, called in (("pairs", "Pairs to learn"), ("held_out", "Held-out pairs")):
        if name in first:
            lines.append(
                f"{called}: {first[name]:,.0f}, of {first[f'{name}_tokens']:,.0f} tokens; "
                f"{first[f'{name}_left_out']:,.0f} were left out as too long."
            )
    return lines


def _table(metrics: Sequence[Metrics]) -> list[str]:
    tested = [each for each in metrics if "held_out/loss" in each]
    if not tested:
        return ["No held-out pairs were given."]
    first, last = tested[0], tested[-1]
    if first is last:
        lines = ["| held-out loss, nats a token | before; not measured since |", "|---|---|"]
        return lines + [f"| {LOSSES[n]} | {first[n]:.4f} |" for n in LOSSES if n in first]
    lines = [f"| held-out loss, nats a token | before | after {last['step']:.0f} steps |"]
    lines.append("|---|---|---|")
    for name, label in LOSSES.items():
        if name in last:
            lines.append(f"| {label} | {first[name]:.4f} | {last[name]:.4f} |")
    return lines
