"""Figures of episodes that were played as tokens, and their means: what a run of training logs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zs_env.evaluation.behaviour import behaviour_shares, count_behaviour
from zs_env.evaluation.trajectories import record_searches
from zs_env.questions import Question
from zs_env.tokens.trajectory import Trajectory

Figures = dict[str, float]
"""Figures by name."""


def figures_of(trajectory: Trajectory, question: Question, max_document_words: int) -> Figures:
    """Return the figures of one episode.

    Args:
        trajectory: episode.
        question: its question.
        max_document_words: words at which documents were cut for the policy.
    """
    searches = trajectory.searches
    info = trajectory.info
    return {
        "reward": trajectory.reward,
        "f1": info["f1"],
        "exact_match": info["exact_match"],
        "turns": float(trajectory.num_turns),
        "searches": float(len(searches)),
        "noisy": float(sum(search.noisy for search in searches)),
        "invalid": float(info["num_invalid"]),
        "response_length": float(trajectory.response_length),
        "length": float(len(trajectory)),
        "answered": float(trajectory.termination.value == "answered"),
        "search_failed": float(trajectory.search_failed),
        "context_exceeded": float(info["context_exceeded"]),
        **count_behaviour(
            question.text,
            question.golden_answers,
            info["answer"],
            record_searches(trajectory, max_document_words),
            trajectory.num_turns,
        ),
    }


def mean_figures(episodes: Sequence[Figures]) -> Figures:
    """Return means over episodes, sums, and shares of turns or of searches.

    Those of `zs_env.evaluation.behaviour.behaviour_shares` are missing where there is nothing to
    take a share of.
    """

    def total(name: str) -> float:
        return float(np.sum([episode[name] for episode in episodes]))

    count = max(len(episodes), 1)
    means = {
        name: total(name) / count
        for name in (
            "reward", "f1", "exact_match", "turns", "searches", "response_length", "length",
            "answered",
        )
    }  # fmt: skip
    return {
        **means,
        "invalid_share": total("invalid") / max(total("turns"), 1.0),
        "noisy_share": total("noisy") / max(total("searches"), 1.0),
        "failed_searches": total("search_failed"),
        "context_exceeded": total("context_exceeded") / count,
        **behaviour_shares(episodes),
    }
