"""How well a policy of Stable-Baselines3 answers questions about facts it has never seen."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sb3_contrib.common.maskable.utils import get_action_masks

from agents.sb3.vec_env import TokenVecEnv


class Evaluation(NamedTuple):
    """Means over questions.

    Attributes:
        f1: of the answers; 0.0 where there was none.
        searches: sent to the engine.
    """

    f1: float
    searches: float


def make_test_env(**task: Any) -> TokenVecEnv:
    """An environment for each test question, without noise."""
    one = TokenVecEnv(1, split="test", noise_end=0.0, **task)
    return TokenVecEnv(len(one.envs.source.questions), split="test", noise_end=0.0, **task)


def evaluate(model: Any, test: TokenVecEnv) -> Evaluation:
    """Play each question of ``test`` once, greedily.

    Args:
        model: of sb3-contrib, with masks.
        test: has an environment for each of its questions.
    """
    source = test.envs.source.questions
    test.set_options([{"question": source[i].id, "key": i} for i in range(test.num_envs)])
    observation: Any = test.reset()
    ended: dict[int, dict[str, Any]] = {}
    while len(ended) < test.num_envs:
        masks = get_action_masks(test)
        actions, _ = model.predict(observation, deterministic=True, action_masks=masks)
        observation, _, over, infos = test.step(actions)
        ended = {int(i): infos[i] for i in np.flatnonzero(over)} | ended
    return Evaluation(
        float(np.mean([info["f1"] for info in ended.values()])),
        float(np.mean([info["num_searches"] for info in ended.values()])),
    )
