"""Plans of a benchmark: how each of its tiers is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zs_env.evaluation.benchmarks import Benchmark, Chosen, Tier
from zs_env.evaluation.methods import Method
from zs_env.evaluation.models import Model
from zs_env.evaluation.options import PlayOptions
from zs_env.evaluation.plan import Plan, make_options
from zs_env.loading import Spec

FIXED = (
    "questions", "engine", "num_questions", "repeats", "seed", "in_domain",
    "max_turns", "top_k", "document_words", "noise", "temperature", "top_p",
)  # fmt: skip
"""Options of an evaluation that a benchmark fixes. All others are the agent's own."""


def plans_of(
    chosen: Chosen,
    method: Spec | Method = "search",
    model: Model | None = None,
    given: Mapping[str, Any] | None = None,
    episode: str | Path | None = None,
) -> list[Plan]:
    """Return the plans of the tiers that were chosen.

    How long a turn and a transcript may be is the agent's own: a checkpoint keeps its
    ``max_turn_tokens``, and the transcript may be as long as its model reads, however short the
    episodes were that it was trained on, unless ``max_context`` is given.

    Args:
        chosen: benchmark and tiers, see `zs_env.evaluation.benchmarks.find_benchmark`.
        method: method.
        model: model of the policy.
        given: options of the agent by name: fields of `PlayOptions` that no benchmark fixes.
        episode: as for `zs_env.evaluation.plan.make_options`.

    Raises:
        ValueError: the benchmark fixes an option that was given.
    """
    own = dict(given or {})
    if fixed := [f"--{name.replace('_', '-')}" for name in FIXED if name in own]:
        raise ValueError(
            f"the benchmark {chosen.benchmark.name!r} fixes {', '.join(fixed)}: leave that out, or "
            "evaluate without --benchmark."
        )
    options = make_options(model, own, episode)
    if "max_context" not in own:
        options = replace(options, max_context=None)
    return [plan_of(chosen.benchmark, tier, method, model, options) for tier in chosen.tiers]


def plan_of(
    benchmark: Benchmark,
    tier: Tier,
    method: Spec | Method,
    model: Model | None = None,
    options: PlayOptions = PlayOptions(),  # noqa: B008  (it is frozen)
) -> Plan:
    """Return the plan of ``tier``: what it fixes takes the place of the same in ``options``."""
    return Plan(
        method=method,
        model=model,
        questions=[benchmark.questions(tier, seed) for seed in benchmark.seeds],
        engines=[tier.engine],
        benchmark=benchmark.part(tier),
        options=replace(
            options,
            max_turns=tier.max_turns,
            top_k=benchmark.top_k,
            document_words=benchmark.document_words,
            noise=tier.noise,
            temperature=0.0,
            top_p=1.0,
        ),
    )
