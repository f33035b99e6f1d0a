r"""Trains MaskablePPO on the 1-hop questions of the tiny world, token by token, on held-out facts.

    python -m agents.sb3
    python -m agents.sb3 --cloning-steps 600 --steps 100000

By default PPO starts from nothing, with potential-based shaping: a document that shows a golden
answer is rewarded, and what it gave is taken off at the end. ``--cloning-steps`` clones the
scripted solver first, and that is reported by itself. Prints the F1 on questions about facts that
training never sees, before and after, beside what the best policy earns that never searches; writes
``curve.csv`` and the model. Takes about five minutes on two cores.
"""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from agents.sb3.callbacks import ProgressCallback
from agents.sb3.cloning import clone, demonstrate
from agents.sb3.policy import TokenPolicy
from agents.sb3.vec_env import TokenVecEnv
from zs_env.world import load_world
from zs_env.world.blind import blind_scores, mean_score

TASK: dict[str, Any] = {
    "world_size": "tiny",
    "context_length": 96,
    "max_turn_tokens": 12,
    "top_k": 2,
    "document_words": 10,
    "max_turns": 2,
}


SHORT = {"</think>": 7.0, "</search>": 3.5, "</answer>": 5.0}
"""How much closing tags are preferred at first, in logits: what is written begins short."""


@dataclass(frozen=True)
class Options:
    """What is trained, and for how long."""

    folder: Path = Path("runs/sb3")
    """Where curve and model go."""
    steps: int = 500_000
    """Tokens that PPO trains on."""
    cloning_steps: int = 0
    """Steps that the scripted solver demonstrates in each environment; 0 to start from nothing."""
    cloning_epochs: int = 3
    """Passes over what was demonstrated."""
    num_envs: int = 128
    """Environments."""
    learning_rate: float = 1e-3
    """Of PPO, and of cloning."""
    ent_coef: float = 0.02
    """How much random tokens are rewarded."""
    shaping: float = 1.0
    """What a golden answer in a document is worth until the end; 0 for none."""
    noise_end: float = 0.0
    """Share of noisy searches at the end of training."""
    width: int = 32
    """Of the network."""
    seed: int = 0
    """Of questions, weights and draws."""


class Curve(BaseCallback):
    """Evaluates now and then, and keeps and prints what comes of it."""

    def __init__(self, test: TokenVecEnv, every_s: float = 30.0) -> None:
        super().__init__()
        self.test = test
        self.every_s = every_s
        self.rows: list[tuple[float, int, float, float]] = []
        self._start = time.monotonic()
        self._next = 0.0

    def _on_rollout_start(self) -> None:
        elapsed = time.monotonic() - self._start
        if elapsed >= self._next:
            self._next = elapsed + self.every_s
            self.evaluate()

    def _on_step(self) -> bool:
        return True

    def evaluate(self) -> float:
        """Play the test questions greedily; their mean F1."""
        f1, searches = evaluate(self.model, self.test)
        elapsed = time.monotonic() - self._start
        self.rows.append((elapsed, self.num_timesteps, f1, searches))
        print(
            f"{elapsed:6.0f} s {self.num_timesteps:>9,} steps  F1 {f1:.3f}  {searches:.2f} searches"
        )
        return f1


def evaluate(model: Any, test: TokenVecEnv) -> tuple[float, float]:
    """Mean F1 and mean searches of as many test questions as there are, played greedily."""
    test.seed(1)
    observation: Any = test.reset()
    ended: list[dict[str, Any]] = []
    while len(ended) < len(test.envs.factory.source):
        masks = test.envs.action_masks()
        actions, _ = model.predict(observation, deterministic=True, action_masks=masks)
        observation, _, over, infos = test.step(actions)
        ended += [infos[i] for i in np.flatnonzero(over)]
    f1 = float(np.mean([info["f1"] for info in ended]))
    return f1, float(np.mean([info["num_searches"] for info in ended]))


def main(options: Options) -> float:
    """Train; the F1 at the end."""
    env = TokenVecEnv(
        options.num_envs, shaping=options.shaping, noise_end=options.noise_end, **TASK
    )
    env.seed(options.seed)
    test = TokenVecEnv(66, split="test", noise_end=0.0, **TASK)
    expected, fitted = mean_score(blind_scores(load_world(0, "tiny"), "test").values())
    print(f"never searching earns at most {expected:.3f} ({fitted:.3f} if fitted to the answers)")
    model = MaskablePPO(
        TokenPolicy,
        env,
        n_steps=32,
        batch_size=1024,
        n_epochs=3,
        gamma=1.0,
        learning_rate=options.learning_rate,
        ent_coef=options.ent_coef,
        seed=options.seed,
        policy_kwargs={
            "features_extractor_kwargs": {"width": options.width},
            "first_bias": {env.envs.setup.tokenizer.token_id(t): b for t, b in SHORT.items()},
        },
    )
    if options.cloning_steps:
        shown = demonstrate(env, options.cloning_steps)
        losses = clone(
            model.policy,
            shown,
            epochs=options.cloning_epochs,
            learning_rate=options.learning_rate,
        )
        f1, searches = evaluate(model, test)
        print(f"cloned {len(shown.actions):,} tokens: loss {losses[-1]:.4f}, ", end="")
        print(f"F1 {f1:.3f}, {searches:.2f} searches")
    curve = Curve(test)
    model.learn(options.steps, callback=CallbackList([ProgressCallback(), curve]))
    final = curve.evaluate()
    options.folder.mkdir(parents=True, exist_ok=True)
    with (options.folder / "curve.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("seconds", "steps", "f1", "searches"), *curve.rows])
    model.save(options.folder / "model")
    return final


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
