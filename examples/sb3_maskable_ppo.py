"""MaskablePPO of sb3-contrib writes its answers token by token.

    python -m examples.sb3_maskable_ppo

Takes half a minute. Clones the scripted solver on train questions of the tiny world, goes on with
PPO while documents get noisier, and prints a transcript about facts it has never seen, and the mean
reward of such questions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from sb3_contrib.common.maskable.utils import get_action_masks

from agents.sb3 import ProgressCallback, TokenPolicy, TokenVecEnv
from agents.sb3.cloning import clone, demonstrate

TASK: dict[str, Any] = {
    "world_size": "tiny",  # 1-hop questions, 123 tokens
    "context_length": 112,
    "max_turn_tokens": 16,
    "top_k": 2,
    "document_words": 10,
    "max_turns": 3,
}


def main() -> None:
    """Clone, train, evaluate."""
    env = TokenVecEnv(64, noise_end=0.2, **TASK)
    test = TokenVecEnv(20, split="test", noise_end=0.0, **TASK)
    env.seed(0)
    test.seed(0)
    model = MaskablePPO(
        TokenPolicy,
        env,
        n_steps=32,
        batch_size=1024,
        n_epochs=3,
        gamma=1.0,
        learning_rate=3e-4,
        seed=0,
        policy_kwargs={"features_extractor_kwargs": {"width": 32}},
    )
    losses = clone(model.policy, demonstrate(env, 300), epochs=4)
    print(f"cloned: loss {losses[-1]:.4f} nats a token")
    model.learn(20_000, callback=ProgressCallback())

    observation: Any = test.reset()
    over = np.zeros(20, dtype=bool)
    while not over[0]:
        episode = test.envs.episodes[0]
        masks = get_action_masks(test)
        action, _ = model.predict(observation, deterministic=True, action_masks=masks)
        observation, _, over, _ = test.step(action)
    print(episode.transcript)
    mean, spread = evaluate_policy(model, test, n_eval_episodes=100, warn=False)
    print(f"reward {mean:.2f} +- {spread:.2f} over 100 questions about facts it has never seen")


if __name__ == "__main__":
    main()
