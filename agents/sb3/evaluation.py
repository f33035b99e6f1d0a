"""Evaluation of policies of Stable-Baselines3 on questions about facts that training never saw."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sb3_contrib.common.maskable.utils import get_action_masks

from agents.sb3.vec_env import TokenVecEnv


class Evaluation(NamedTuple):
    """Means over questions.

    Attributes:
        f1: F1 of the answers; 0.0 for a question without an answer.
        searches: searches sent to the engine.
    """

    f1: float
    searches: float


def make_test_env(**task: Any) -> TokenVecEnv:
    """Make an environment for each test question, without noise."""
    # One environment tells how many questions there are.
    one = TokenVecEnv(1, split="test", noise_end=0.0, **task)
    return TokenVecEnv(len(one.envs.source.questions), split="test", noise_end=0.0, **task)


def evaluate(model: Any, test: TokenVecEnv) -> Evaluation:
    """Play each question of ``test`` once, greedily.

    Args:
        model: model of sb3-contrib that takes masks.
        test: environments, one for each of their questions.
    """
    source = test.envs.source.questions
    test.set_options([{"question": source[i].id, "key": i} for i in range(test.num_envs)])
    observation: Any = test.reset()
    final_infos: dict[int, dict[str, Any]] = {}
    while len(final_infos) < test.num_envs:
        masks = get_action_masks(test)
        actions, _ = model.predict(observation, deterministic=True, action_masks=masks)
        observation, _, ended, infos = test.step(actions)
        # Environments reset at once; only the first episode of each counts.
        final_infos = {int(i): infos[i] for i in np.flatnonzero(ended)} | final_infos
    return Evaluation(
        float(np.mean([info["f1"] for info in final_infos.values()])),
        float(np.mean([info["num_searches"] for info in final_infos.values()])),
    )
