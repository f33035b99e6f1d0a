"""Evaluation on held-out questions, as a run does it between updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.sampling.interface import SamplerService
from agents.sampling.player import Player
from agents.sampling.policy import Policy
from agents.training.checkpoint import PLAYED_WITH, questions_tested_on
from agents.training.config import Config
from agents.training.distributed import Processes
from agents.training.metrics import Metrics
from zs_env.episode import Assignment
from zs_env.episodes import EpisodeSource
from zs_env.evaluation.identity import fingerprint, identity_of
from zs_env.evaluation.labels import label_of
from zs_env.evaluation.record import Record, RecordKey
from zs_env.evaluation.summary import summarise
from zs_env.evaluation.trajectories import record_trajectory
from zs_env.keyed_random import derive_key

FIGURES = {"searches": "searches", "turns": "turns", "completion_tokens": "response_length"}
"""Names in the metrics of a run of figures of an evaluation."""


def evaluate(
    policy: Policy,
    source: EpisodeSource,
    config: Config,
    processes: Processes,
    *,
    noise: float = 0.0,
    greedy: bool = True,
    samplers: SamplerService | None = None,
) -> list[Record]:
    """Play the first ``config.num_test_questions`` questions of ``source``, once each.

    Args:
        policy: policy that plays.
        source: source of the held-out questions, with the engine and the rules.
        config: options of the run.
        processes: processes that share the questions.
        noise: noise probability; 0.0 for an engine that ignores noise.
        greedy: whether to take the most likely token instead of sampling.
        samplers: sampler of the tokens; by default ``policy`` itself.

    Returns:
        The record of each question; the same on every process.
    """
    policy.eval()
    noise = noise if source.engine.honours_noise else 0.0
    count = min(config.num_test_questions, len(source.questions))
    questions = processes.share([source.questions[number] for number in range(count)])
    player = Player(
        policy,
        source.engine,
        source.rules,
        config.concurrent_episodes,
        greedy=greedy,
        samplers=samplers,
    )
    trajectories = player.play(
        [
            Assignment(q, derive_key("test", q.id), derive_key("test sample", q.id), noise)
            for q in questions
        ]
    )
    dataset = label_of("questions", questions_tested_on(config.to_json()))
    cut = source.rules.max_document_words
    engine = label_of("engine", source.settings.engine)
    records = [
        record_trajectory(
            trajectory, question, policy.encoder, RecordKey(dataset, engine, question.id, 0), cut
        )
        for question, trajectory in zip(questions, trajectories, strict=True)
    ]
    return processes.gather(records)


def evaluation_figures(records: list[Record]) -> Metrics:
    """Return the figures of an evaluation by name; failed searches are left out of the means."""
    summary = summarise(records)
    means = {
        **{name: estimate.mean for name, estimate in summary.scores.items()},
        **{FIGURES[n]: summary.usage[n].mean for n in FIGURES if n in summary.usage},
    }
    return {
        **means,
        "invalid_share": summary.invalid_turns or 0.0,
        "failed_searches": float(summary.failures),
    }


def describe(config: Config, sources: Mapping[str, EpisodeSource]) -> dict[str, Any]:
    """Return what an evaluation asks, as `zs_env.evaluation.run.Evaluation` describes it.

    Args:
        config: options of the run.
        sources: source of the held-out questions by engine.
    """
    options = config.to_json()
    first, *_ = sources.values()
    size = min(config.num_test_questions, len(first.questions))
    dataset = label_of("questions", questions_tested_on(options))
    return {
        "method": "search",
        "model": str(config.folder),
        "questions": {dataset: fingerprint(first.questions, size)},
        "engines": {label_of("engine", e): identity_of(sources[e].engine) for e in sources},
        "repeats": 1,
        "seed": 0,
        "options": {**{name: options[name] for name in PLAYED_WITH}, "noise": 0.0},
    }
