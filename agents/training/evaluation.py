"""Evaluation on held-out questions, as a run does it between updates."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from agents.sampling.interface import SamplerService
from agents.sampling.player import Player
from agents.sampling.policy import Policy
from agents.training.checkpoint import PLAYED_WITH, questions_tested_on
from agents.training.config import Config, Decoding
from agents.training.distributed import Processes
from agents.training.learner import Learner
from agents.training.memory import explain_memory
from agents.training.metrics import TIMING, Metrics, evaluation_prefix
from zs_env.episodes import EpisodeSource
from zs_env.evaluation.behaviour import behaviour_of, behaviour_shares
from zs_env.evaluation.identity import fingerprint, identity_of
from zs_env.evaluation.labels import label_of
from zs_env.evaluation.record import Record, RecordKey
from zs_env.evaluation.store import write_run
from zs_env.evaluation.summary import summarise
from zs_env.evaluation.trajectories import record_trajectory

FIGURES = {"searches": "searches", "turns": "turns", "completion_tokens": "response_length"}
"""Names in the metrics of a run of figures of an evaluation."""

FOLDERS: dict[Decoding, str] = {"greedy": "evaluation", "sampled": "evaluation_sampled"}
"""Folders, in that of a run, with the records of its last evaluation."""


class Evaluator:
    """Evaluator of the policy that ``learner`` trains, with the engines and ways that it names.

    Args:
        learner: learner, with its policy, options and processes.
        samplers: sampler of the tokens.

    Raises:
        ValueError: questions or an engine are wrong.
    """

    def __init__(self, learner: Learner, samplers: SamplerService) -> None:
        self._learner = learner
        self._samplers = samplers
        config = learner.config
        self._sources = {e: config.make_test_source(learner.policy, e) for e in config.test_engines}
        self._asked: dict[Decoding, dict[str, Any]] = {}

    def evaluate(self) -> Metrics:
        """Play all evaluations, keep their records, and return their figures and the time taken."""
        start = time.perf_counter()
        metrics: Metrics = {}
        for decoding in self._learner.config.test_decoding if self._sources else ():
            metrics |= self._evaluate(decoding)
        return metrics | {TIMING + "evaluation": time.perf_counter() - start}

    def _evaluate(self, decoding: Decoding) -> Metrics:
        learner, metrics = self._learner, Metrics()
        kept: list[Record] = []
        for engine, source in self._sources.items():
            with learner.autocast(), explain_memory():
                records = evaluate(
                    learner.policy,
                    source,
                    learner.config,
                    learner.processes,
                    noise=learner.config.test_noise,
                    greedy=decoding == "greedy",
                    samplers=self._samplers,
                )
            prefix = evaluation_prefix(engine, decoding)
            metrics |= {prefix + name: f for name, f in evaluation_figures(records).items()}
            kept += records
        if decoding not in self._asked:
            self._asked[decoding] = describe(learner.config, self._sources, decoding)
        folder = learner.config.folder / FOLDERS[decoding]
        learner.processes.on_main(lambda: write_run(folder, self._asked[decoding], kept))
        return metrics


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

    Noise, documents and sampled tokens of a question follow from its id alone: every evaluation of
    every run draws the same, so evaluations are compared in pairs.

    Args:
        policy: policy that plays.
        source: source of the held-out questions, with the engine and the rules.
        config: options of the run.
        processes: processes that share the questions.
        noise: noise probability; an engine without noise ignores it.
        greedy: whether to take the most likely token instead of sampling.
        samplers: sampler of the tokens; by default ``policy`` itself.

    Returns:
        The record of each question; the same on every process.
    """
    policy.eval()
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
        [source.assign_held_out(question.id, noise_probability=noise) for question in questions]
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
    """Return the figures of an evaluation by name; failed searches are left out of the means.

    Those of noisy and of useful searches are missing if there were none.
    """
    summary = summarise(records)
    means = {
        **{name: estimate.mean for name, estimate in summary.scores.items()},
        **{FIGURES[n]: summary.usage[n].mean for n in FIGURES if n in summary.usage},
    }
    return {
        **means,
        **behaviour_shares(behaviour_of(record) for record in records if not record.failed),
        "invalid_share": summary.invalid_turns or 0.0,
        "failed_searches": float(summary.failures),
    }


def describe(
    config: Config, sources: Mapping[str, EpisodeSource], decoding: Decoding = "greedy"
) -> dict[str, Any]:
    """Return what an evaluation asks, as `zs_env.evaluation.run.Evaluation` describes it.

    Args:
        config: options of the run.
        sources: source of the held-out questions by engine.
        decoding: way of playing.
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
        "options": {
            **{name: options[name] for name in PLAYED_WITH},
            "noise": config.test_noise,
            "temperature": 0.0 if decoding == "greedy" else config.temperature,
        },
    }
