"""Report of a run: figures before and after training, and curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.training.metrics import TIMING, Metrics, evaluation_prefix, read_metrics
from zs_env.report.pages import write_page
from zs_env.report.plots import draw

BEFORE_AFTER = {
    "f1": "F1",
    "exact_match": "exact match",
    "searches": "searches an episode",
    "turns": "turns an episode",
    "invalid_share": "invalid turns",
    "response_length": "policy tokens an episode",
    "fooled_share": "fooled by noise",
    "noisy_searched_on_share": "searched on after a noisy search",
    "noisy_asked_again_share": "asked again after a noisy search",
    "useful_asked_again_share": "asked again after a useful search",
    "noisy_leak_share": "noisy searches that give the answer away",
}
"""Rows of the table by figure; figures that no evaluation has are left out."""

# File -> title, and the figures it shows with their labels.
CURVES: dict[str, tuple[str, dict[str, str]]] = {
    "reward": ("Reward of the episodes played", {"reward": "mean"}),
    "turns": ("Turns and searches an episode", {"turns": "turns", "searches": "searches"}),
    "noise": (
        "Noisy searches",
        {
            "noise_probability": "probability",
            "noisy_share": "share drawn",
            "noisy_leak_share": "share of them that gives the answer away",
        },
    ),
    "fooled": ("Episodes that noise has fooled", {"fooled_share": "share"}),
    "asked_again": (
        "Searches after which the same subject is asked for",
        {"noisy_asked_again_share": "noisy", "useful_asked_again_share": "useful"},
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
    pictures = [_draw_test(folder, metrics, config)]
    pictures += [
        draw(folder / f"{name}.png", metrics, *CURVES[name], x="update", x_label="update")
        for name in CURVES
    ]
    lines = [*_summary(metrics, config), "", *comparison(metrics, config)]
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


def comparison(metrics: Sequence[Metrics], config: Mapping[str, Any]) -> list[str]:
    """Return the lines of tables: figures on held-out questions before and after training.

    Args:
        metrics: metrics of the run.
        config: options of the run, as JSON has them.
    """
    lines: list[str] = []
    for decoding in _decodings(config):
        prefixes = {engine: evaluation_prefix(engine, decoding) for engine in _engines(config)}
        lines += _table(metrics, prefixes, f"{_decoded(decoding, config)}, {_noise(config)}")
    return lines[1:] or ["No evaluation was made."]


def _table(metrics: Sequence[Metrics], prefixes: Mapping[str, str], played: str) -> list[str]:
    """Return an empty line and a table of one way of playing; nothing without an evaluation."""
    tested = [each for each in metrics if any(f"{p}f1" in each for p in prefixes.values())]
    if not tested:
        return []
    first, last = tested[0], tested[-1]
    lines = [
        "",
        f"Held-out questions, {played}:",
        "",
        f"| engine | | before | after {last['update']:.0f} updates |",
        "|---|---|---|---|",
    ]
    for engine, prefix in prefixes.items():
        for name, label in BEFORE_AFTER.items():
            figures = [each.get(prefix + name) for each in (first, last)]
            if figures != [None, None]:
                cells = " | ".join("-" if f is None else f"{f:.3f}" for f in figures)
                lines.append(f"| {engine} | {label} | {cells} |")
    return lines


def _draw_test(folder: Path, metrics: Sequence[Metrics], config: Mapping[str, Any]) -> Path | None:
    decodings = _decodings(config)
    several = len(decodings) > 1
    series = {
        f"{evaluation_prefix(engine, decoding)}f1": f"{engine}, {decoding}" if several else engine
        for decoding in decodings
        for engine in _engines(config)
    }
    played = [*([] if several else [_decoded(decodings[0], config)]), _noise(config)]
    title = f"F1 on held-out questions, {', '.join(played)}"
    path = folder / "test_f1.png"
    return draw(path, metrics, title, series, x="update", x_label="update", marker=".")


def _engines(config: Mapping[str, Any]) -> list[str]:
    return list(config["test_engines"])


def _decodings(config: Mapping[str, Any]) -> list[str]:
    return list(config["test_decoding"])


def _decoded(decoding: str, config: Mapping[str, Any]) -> str:
    sampled = f"sampled at temperature {config['temperature']:g}"
    return sampled if decoding == "sampled" else decoding


def _noise(config: Mapping[str, Any]) -> str:
    noise = config["test_noise"]
    return f"noise {noise:g} where the engine has it" if noise else "no noise"
