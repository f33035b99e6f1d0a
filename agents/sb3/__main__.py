r"""Train MaskablePPO on the 1-hop questions of the tiny world, token by token.

    python -m agents.sb3
    python -m agents.sb3 --cloning-steps 600 --steps 100000 --noise-end 0.2

PPO starts from scratch; the reward, the F1 of the answer, comes at the end of an episode. The
initial weights favour copying and short turns. With ``--cloning-steps``, training starts from a
clone of the scripted solver, which is evaluated too. Prints the F1 on questions about facts that
training never sees, and that of the best policy that never searches. Writes a folder with
``report.md`` and its curves, ``progress.csv``, TensorBoard files and the model. Ctrl-C ends
training early and keeps what was learned. Takes about two minutes on two cores.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import configure

from agents.sb3.callbacks import EvaluationCallback, ProgressCallback
from agents.sb3.cloning import clone, demonstrate
from agents.sb3.evaluation import Evaluation, evaluate, make_test_env
from agents.sb3.policy import TokenPolicy
from agents.sb3.report import write_report
from agents.sb3.vec_env import TokenVecEnv
from agents.training.cli import run_main
from agents.training.config import check_folder_name
from agents.training.folder import open_folder
from zs_env.world import load_world
from zs_env.world.blind import blind_scores, mean_score

TASK: dict[str, Any] = {
    "world_size": "tiny",
    "context_length": 96,
    "max_turn_tokens": 12,
    "top_k": 2,
    "document_words": 10,
    "max_turns": 2,
    "answer_last": True,
}
"""Arguments of the environments: one search, then the answer.

If the last turn could hold a search, which is never sent, PPO would learn not to search.
"""

MAX_SEED = 2**32 - 1
"""Largest seed of Stable-Baselines3."""

SHORT = {"</think>": 7.0, "</search>": 3.5, "</answer>": 5.0}
"""Initial biases of the closing tags, in logits, which keep turns short at first."""


@dataclass(frozen=True)
class Options:
    """Options of a run of MaskablePPO."""

    folder: Path = Path("runs/sb3")
    """Folder of the run: report, curves, figures, model."""
    steps: int = 300_000
    """Tokens that PPO trains on."""
    cloning_steps: int = 0
    """Steps that the scripted solver demonstrates in each environment; 0 starts from scratch."""
    cloning_epochs: int = 3
    """Passes over the demonstrated steps."""
    num_envs: int = 128
    """Number of environments."""
    learning_rate: float = 1e-3
    """Learning rate of PPO, and of cloning."""
    ent_coef: float = 0.02
    """Weight of the policy's entropy."""
    noise_end: float = 0.0
    """Noise probability at the end of training."""
    width: int = 32
    """Width of the network."""
    seed: int = 0
    """Seed of questions, weights and sampling."""

    def __post_init__(self) -> None:
        """Check the values."""
        smallest = {"steps": 1, "cloning_steps": 0, "cloning_epochs": 1, "num_envs": 1}
        for name, least in smallest.items():
            if (value := getattr(self, name)) < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")
        check_folder_name(self.folder)
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"`seed` must be from 0 to 2**32 - 1, got {self.seed}.")


def make_model(options: Options, env: TokenVecEnv) -> MaskablePPO:
    """Make PPO with an untrained policy, which copies and writes short turns at first."""
    token_id = env.envs.setup.tokenizer.token_id
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
            "first_bias": {token_id(tag): bias for tag, bias in SHORT.items()},
        },
    )
    model.set_logger(configure(str(options.folder), ["csv", "tensorboard"]))
    return model


def clone_solver(options: Options, model: MaskablePPO, env: TokenVecEnv) -> None:
    """Train the model to imitate the scripted solver on train questions."""
    shown = demonstrate(env, options.cloning_steps)
    losses = clone(
        model.policy,
        shown,
        epochs=options.cloning_epochs,
        learning_rate=options.learning_rate,
    )
    print(f"cloned {len(shown.actions):,} tokens: loss {losses[-1]:.4f} nats a token")


def train(options: Options) -> Evaluation:
    """Train, save and report; return the last evaluation.

    Raises:
        CheckpointError: the folder cannot be used, or another run writes to it.
    """
    with open_folder(options.folder):
        return _train(options)


def _train(options: Options) -> Evaluation:
    env = TokenVecEnv(options.num_envs, noise_end=options.noise_end, **TASK)
    env.seed(options.seed)
    test = make_test_env(**TASK)
    # What guessing without documents earns: a policy below it has not learned to search.
    blind_f1, fitted = mean_score(blind_scores(load_world(0, "tiny"), "test").values())
    print(f"never searching earns at most {blind_f1:.3f} ({fitted:.3f} if fitted to the answers)")
    model = make_model(options, env)
    evaluations = {"before training": evaluate(model, test)}
    if options.cloning_steps:
        clone_solver(options, model, env)
        evaluations["after cloning"] = evaluate(model, test)
    curve = EvaluationCallback(test)
    try:
        model.learn(options.steps, callback=CallbackList([ProgressCallback(), curve]))
    except KeyboardInterrupt:
        print("stopped; what was learned so far is saved")
        curve.evaluate()
    evaluations[f"after PPO on {model.num_timesteps:,} tokens"] = curve.newest
    model.save(options.folder / "model")
    model.logger.close()
    print(f"report: {write_report(options.folder, asdict(options), blind_f1, evaluations)}")
    return curve.newest


if __name__ == "__main__":
    run_main(train, Options)
