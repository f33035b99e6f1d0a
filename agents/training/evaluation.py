"""Evaluation on held-out questions, as a run does it between updates."""

from __future__ import annotations

from agents.sampling.interface import SamplerService
from agents.sampling.player import Player
from agents.sampling.policy import Policy
from agents.training.config import Config
from agents.training.distributed import Processes
from agents.training.metrics import Record, record_of
from zs_env.episode import Assignment
from zs_env.episodes import EpisodeSource
from zs_env.keyed_random import derive_key


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
        Figures of each question by `agents.training.metrics.record_of`, with ``hops`` (0 if not
        known); the same on every process.
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
    records = [
        {**record_of(trajectory), "hops": float(question.metadata.get("hops", 0))}
        for question, trajectory in zip(questions, trajectories, strict=True)
    ]
    return processes.gather(records)
