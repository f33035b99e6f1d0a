"""What the chain found, as JSON: nothing in it depends on the machine but `costs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agents.training.metrics import evaluation_prefix, read_metrics
from studies.method.chain import SIMULATED, MethodConfig, stages_of
from studies.simulator import REAL
from zs_env.engines.usage import SEARCH_API_PRICE
from zs_env.evaluation.record import Record
from zs_env.evaluation.statistics import Estimate, mean_of
from zs_env.evaluation.store import read_records
from zs_env.simulation.fidelity.page import JSON as FIDELITY
from zs_env.simulation.pair import read_card


def results_of(config: MethodConfig) -> dict[str, Any]:
    """Return all figures of a chain that has ended."""
    policies = {name: _policy(config, name) for name in (SIMULATED, REAL)}
    return {
        "pairs": read_card(config.folder / "pairs")["pairs"],
        "fidelity": json.loads((config.folder / "fidelity" / FIDELITY).read_text()),
        "policies": policies,
        "searches": _searches(config, policies),
        "costs": costs_of(config),
    }


def costs_of(config: MethodConfig) -> dict[str, dict[str, float]]:
    """Return seconds by the clock and of all processors, by stage."""
    stages = [stage for group in stages_of(config) for stage in group]
    known = {stage.name: stage.done(config.folder) or {} for stage in stages}
    return {name: {k: v for k, v in mark.items() if k != "command"} for name, mark in known.items()}


def _policy(config: MethodConfig, name: str) -> dict[str, Any]:
    metrics = read_metrics(config.policy(name))
    prefix = evaluation_prefix(REAL, "sampled")
    learned = [each for each in metrics if "reward" in each]
    records = read_records(config.evaluated(name))
    return {
        "reward": {int(each["update"]): round(each["reward"], 4) for each in learned},
        "sampled_f1": {
            int(each["update"]): round(each[prefix + "f1"], 4)
            for each in metrics
            if prefix + "f1" in each
        },
        "searches": round(sum(each["searches"] * each["episodes"] for each in learned)),
        **_noise(learned),
        "f1": {kind: _estimate(found) for kind, found in _by_kind(records).items()},
    }


def _searches(config: MethodConfig, policies: dict[str, Any]) -> dict[str, Any]:
    """Return how many searches of which engine each way takes, and what they would cost."""
    collected = sum(len(record.searches) for record in read_records(config.folder / "searches"))
    deeper = read_card(config.folder / "pairs")["deeper_results"]["queries"]
    ways = {
        SIMULATED: {"real": collected + deeper, "simulated": policies[SIMULATED]["searches"]},
        REAL: {"real": policies[REAL]["searches"], "simulated": 0},
    }
    for way in ways.values():
        way["real_usd"] = round(way["real"] * SEARCH_API_PRICE, 2)
    return ways


def _by_kind(records: list[Record]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"all": []}
    for record in records:
        found["all"].append(record.scores["f1"])
        found.setdefault(str(record.metadata["kind"]), []).append(record.scores["f1"])
    return dict(sorted(found.items()))


def _estimate(values: list[float]) -> dict[str, Any]:
    estimate: Estimate = mean_of(values)
    low, high = estimate.interval or (estimate.mean, estimate.mean)
    return {"mean": round(estimate.mean, 4), "low": round(low, 4), "high": round(high, 4)}


def _noise(metrics: list[dict[str, float]]) -> dict[str, float | None]:
    """Return the shares of all searches that were noisy, and of these that leaked."""
    searches = [each["searches"] * each["episodes"] for each in metrics]
    noisy = [count * each["noisy_share"] for count, each in zip(searches, metrics, strict=True)]
    leaked = [n * each.get("noisy_leak_share", 0.0) for n, each in zip(noisy, metrics, strict=True)]
    return {
        "noisy_share": round(sum(noisy) / sum(searches), 4) if sum(searches) else None,
        "noisy_leak_share": round(sum(leaked) / sum(noisy), 4) if sum(noisy) else None,
    }


def write_results(folder: Path, results: dict[str, Any]) -> Path:
    """Write ``results.json``, and return its path."""
    path = folder / "results.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path
