"""One question, played while somebody looks on."""

from __future__ import annotations

from zs_env.evaluation.play import Watch
from zs_env.evaluation.record import Record
from zs_env.evaluation.run import Evaluation, Plan

UNKNOWN = "?"
"""Golden answer of a question whose answer is not known; a simulated engine needs a real one."""


def ask(plan: Plan, watch: Watch | None = None) -> Record:
    """Play the only question of ``plan``, and return its record.

    Args:
        plan: one question and one engine.
        watch: function that is shown each segment as it is written.

    Raises:
        ValueError: there is more than one question.
    """
    with Evaluation(plan, watch) as evaluation:
        tasks = list(evaluation.tasks())
        if len(tasks) != 1:
            raise ValueError(f"there must be one question to ask, got {len(tasks)}.")
        kept: list[Record] = []
        evaluation.play(tasks, kept.append, max_concurrency=1)
    return kept[0]
