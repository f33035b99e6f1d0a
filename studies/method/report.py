"""The report of the chain: fidelity, curves, scores, and what it took, on one page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studies.method.chain import SIMULATED, MethodConfig
from studies.simulator import REAL
from zs_env.report.pages import write_page
from zs_env.report.plots import draw

CPU_HOUR_USD = 0.0425
"""Price of an hour of one virtual processor: AWS c5, on demand, 0.34 USD for eight of them."""

PAID = {
    SIMULATED: ("collect", "judge", "pairs", "tune", f"train-{SIMULATED}"),
    REAL: (f"train-{REAL}",),
}
"""Stages that each way of training takes."""

NAMES = {SIMULATED: "the simulation LLM", REAL: "BM25 itself"}

FIDELITY = {
    "form": "searches in the form of the real engine",
    "useful_final_seen": "useful, final hop: states the asked fact, seen entities",
    "useful_final_unseen": "the same, unseen entities",
    "useful_earlier_seen": "useful, earlier hop: states the asked fact, seen entities",
    "useful_earlier_unseen": "the same, unseen entities",
    "leak": "noisy searches that give it away",
    "classifier": "accuracy of a classifier, real or simulated",
}
"""Figures of the fidelity report that are repeated here, where it has them."""


def write_report(config: MethodConfig, results: Mapping[str, Any]) -> Path:
    """Write ``report.md`` and its pictures, and return its path."""
    folder = config.folder
    pictures = [
        _curve(folder, results, "reward", "Reward of the episodes played"),
        _curve(folder, results, "sampled_f1", "Sampled F1 on BM25, held-out questions"),
    ]
    lines = [
        "An LLM that was tuned on what BM25 returned plays the search engine, with a curriculum of",
        "noise, while a policy learns; then the policy is judged on BM25, beside one that was",
        "trained on BM25 itself. One seed: differences between the two are no finding.",
        "",
        "```sh",
        shlex.join(["python", "-m", "studies.method", *_options(config)]),
        "```",
        "",
        *_scores(results["policies"]),
        *_fidelity(results["fidelity"]),
        *_searches(results["searches"], results["policies"]),
        *_prices(results["searches"], results["costs"]),
        *_costs(results["costs"]),
    ]
    return write_page(folder, lines, pictures, {**asdict(config), "folder": folder.name})


def _options(config: MethodConfig) -> list[str]:
    default, given = asdict(MethodConfig()), asdict(config)
    changed = [name for name in default if default[name] != given[name] and name != "folder"]
    return [part for name in changed for part in (f"--{name.replace('_', '-')}", f"{given[name]}")]


def _curve(folder: Path, results: Mapping[str, Any], name: str, title: str) -> Path | None:
    points: dict[int, dict[str, float]] = {}
    for policy, found in results["policies"].items():
        for update, value in found[name].items():
            points.setdefault(int(update), {"update": float(update)})[policy] = value
    series = {policy: f"trained on {NAMES[policy]}" for policy in NAMES}
    ordered = [points[update] for update in sorted(points)]
    return draw(folder / f"{name}.png", ordered, title, series, x="update", x_label="update")


def _scores(policies: Mapping[str, Any]) -> list[str]:
    kinds = list(policies[REAL]["f1"])
    lines = ["## Greedy F1 on BM25", "", f"| trained on | {' | '.join(kinds)} |",
             "|---" * (len(kinds) + 1) + "|"]  # fmt: skip
    for name, title in NAMES.items():
        found = policies[name]["f1"]
        lines.append(f"| {title} | {' | '.join(_interval(found[kind]) for kind in kinds)} |")
    return [*lines, ""]


def _interval(figure: Mapping[str, float]) -> str:
    return f"{figure['mean']:.3f} ({figure['low']:.3f} – {figure['high']:.3f})"


def _fidelity(fidelity: Mapping[str, Any]) -> list[str]:
    columns: Sequence[Mapping[str, Any]] = fidelity["columns"]
    lines = ["## Fidelity", "", "All figures: [fidelity/fidelity.md](fidelity/fidelity.md).", "",
             f"| | {' | '.join(column['name'] for column in columns)} |",
             "|---" * (len(columns) + 1) + "|"]  # fmt: skip
    for name, label in FIDELITY.items():
        cells = [_figure(column["figures"].get(name)) for column in columns]
        if any(cells):
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return [*lines, ""]


def _figure(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return ""
    low, high = figure.get("interval") or (None, None)
    shown = f"{figure['value']:.3f}"
    return shown if low is None else f"{shown} ({low:.3f} – {high:.3f})"


def _searches(ways: Mapping[str, Any], policies: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Searches",
        "",
        "Collecting, and the deeper results that noisy targets are made of, count as real ones.",
        "",
        "| trained on | real searches | at a search API, USD | simulated searches |",
        "|---|---:|---:|---:|",
    ]
    for name, title in NAMES.items():
        way = ways[name]
        lines.append(
            f"| {title} | {way['real']:,} | {way['real_usd']:,.2f} | {way['simulated']:,} |"
        )
    noisy, leak = (policies[SIMULATED][key] for key in ("noisy_share", "noisy_leak_share"))
    lines.append("")
    if noisy is not None and leak is not None:
        lines += [f"Of the simulated searches {noisy:.1%} were ordered to be noisy, and {leak:.1%} "
                  "of these held a golden answer all the same.", ""]  # fmt: skip
    return lines


def _prices(ways: Mapping[str, Any], costs: Mapping[str, Mapping[str, float]]) -> list[str]:
    lines = [
        "## Price",
        "",
        "At list prices: of a search API as in the paper (section 4.6), of processors "
        f"{CPU_HOUR_USD} USD an hour. Measuring and judging are in neither.",
        "",
        "| trained on | searches, USD | CPU seconds | of these, USD | together, USD |",
        "|---|---:|---:|---:|---:|",
    ]
    total = {}
    for name, title in NAMES.items():
        seconds = sum(costs[stage]["cpu_seconds"] for stage in PAID[name])
        searches, processors = ways[name]["real_usd"], seconds * CPU_HOUR_USD / 3600
        total[name] = searches + processors
        lines.append(
            f"| {title} | {searches:,.2f} | {seconds:,.0f} | {processors:,.3f} | "
            f"{total[name]:,.2f} |"
        )
    lines += [
        "",
        f"The simulation LLM takes {total[SIMULATED] / total[REAL]:.2f} times what training on the "
        "real engine takes. In the paper that is 0.12 times, without what was collected to tune "
        "its models. What is collected serves every later run.",
        "",
    ]
    return lines


def _costs(costs: Mapping[str, Mapping[str, float]]) -> list[str]:
    lines = ["## Time", "", "| stage | seconds | of all processors |", "|---|---:|---:|"]
    for name, mark in costs.items():
        lines.append(f"| {name} | {mark['seconds']:,.0f} | {mark['cpu_seconds']:,.0f} |")
    return lines
