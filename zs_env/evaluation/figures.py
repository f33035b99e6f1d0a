"""Figures of episodes in training, and their means: what a run logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zs_env.episode import Episode
from zs_env.evaluation.behaviour import behaviour_shares, count_behaviour
from zs_env.evaluation.trajectories import record_searches
from zs_env.questions import Question
from zs_env.tokens.trajectory import SearchRecord, Trajectory

Figures = dict[str, float]
"""Figures by name."""


def figures_of(trajectory: Trajectory, question: Question, max_document_words: int) -> Figures:
    """Return the figures of one episode.

    Args:
        trajectory: episode.
        question: its question.
        max_document_words: words at which documents were cut for the policy.
    """
    figures = _figures(
        trajectory.info,
        trajectory.searches,
        question,
        max_document_words,
        trajectory.num_turns,
    )
    return {
        **figures,
        "reward": trajectory.reward,
        "response_length": float(trajectory.response_length),
        "length": float(len(trajectory)),
    }


def figures_of_text(
    episode: Episode, searches: Sequence[SearchRecord], max_document_words: int
) -> Figures:
    """Return the figures of one finished episode that was played as text, without lengths.

    Args:
        episode: episode.
        searches: what `zs_env.episodes.advance` returned for the turns that searched, in order.
        max_document_words: words at which documents were cut for the policy.
    """
    figures = _figures(episode.info(), searches, episode.question, max_document_words, episode.turn)
    return {**figures, "reward": episode.reward}


def _figures(
    info: Mapping[str, Any],
    searches: Sequence[SearchRecord],
    question: Question,
    max_document_words: int,
    num_turns: int,
) -> Figures:
    """Return the figures that follow from the last ``info`` of an episode and its searches."""
    return {
        "f1": info["f1"],
        "exact_match": info["exact_match"],
        "turns": float(num_turns),
        "searches": float(len(searches)),
        "noisy": float(sum(search.noisy for search in searches)),
        "invalid": float(info["num_invalid"]),
        "answered": float(info["answer"] is not None),
        "search_failed": float(info["search_failed"]),
        "context_exceeded": float(info["context_exceeded"]),
        **count_behaviour(
            question.text,
            question.golden_answers,
            info["answer"],
            record_searches(searches, info["failure"], max_document_words),
            num_turns,
        ),
    }


def mean_figures(episodes: Sequence[Figures]) -> Figures:
    """Return means over episodes, sums, and shares of turns or of searches.

    Lengths are left out where the episodes were played as text. Those of
    `zs_env.evaluation.behaviour.behaviour_shares` are missing where there is nothing to take a
    share of.
    """

    def total(name: str) -> float:
        return float(np.sum([episode[name] for episode in episodes]))

    count = max(len(episodes), 1)
    names = ["reward", "f1", "exact_match", "turns", "searches"]
    if all("length" in episode for episode in episodes):
        names += ["response_length", "length"]
    means = {name: total(name) / count for name in (*names, "answered")}
    return {
        **means,
        "invalid_share": total("invalid") / max(total("turns"), 1.0),
        "noisy_share": total("noisy") / max(total("searches"), 1.0),
        "failed_searches": total("search_failed"),
        "context_exceeded": total("context_exceeded") / count,
        **behaviour_shares(episodes),
    }
