"""The chain: which commands it consists of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studies.method.stage import Stage
from zs_env.checks import as_integer, as_share
from zs_env.commands.evaluate import FAILED

TOP_K, DOCUMENT_WORDS, MAX_TURNS = 2, 12, 8
"""Of the instrument (`agents/configs/instrument.json`), on which the policies are trained."""

SIMULATED, REAL = "simulated", "bm25"
"""The two policies, by what they are trained on."""


@dataclass(frozen=True)
class MethodConfig:
    """Options of the chain."""

    folder: Path = Path("runs/method")
    """Folder of the chain."""
    seed: int = 0
    """Seed of collecting, of tuning and of both policies."""
    num_questions: int = 10_000
    """Train questions that are played to collect searches of the real engine."""
    num_pairs: int = 20_000
    """Pairs to tune the simulation LLM on."""
    epochs: int = 4
    """Passes over the pairs."""
    num_queries: int = 500
    """Held-out queries to measure fidelity on."""
    contrast: float = 0.5
    """Weight of contrastive decoding of noisy documents; 0: none, as in the paper."""
    noise_end: float = 0.5
    """Noise probability at the end of the curriculum, which begins with 0."""
    updates: int = 50
    """Updates of each policy."""
    num_test_questions: int = 500
    """Held-out questions that the policies are judged on at the end."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("num_questions", "num_pairs", "epochs", "num_queries", "updates"):
            as_integer(name, getattr(self, name), 1)
        as_share("noise_end", self.noise_end)

    @property
    def model(self) -> Path:
        """Folder of the tuned simulation LLM."""
        return self.folder / "tuned" / "model"

    def policy(self, name: str) -> Path:
        """Return the folder of a policy's run."""
        return self.folder / f"policy-{name}"

    def judged(self, name: str) -> Path:
        """Return the folder of a policy's evaluation."""
        return self.folder / f"judged-{name}"

    def engine(self, contrast: float) -> str:
        """Return the simulated engine as it is written."""
        return (
            f"simulated,llm=transformers_local,model={self.model},template=world,"
            f"hide_answer_from_noisy=true,contrast={contrast:g}"
        )


def stages_of(config: MethodConfig) -> list[list[Stage]]:
    """Return the stages in order; those of one list run side by side."""
    episode = ("--top-k", f"{TOP_K}", "--document-words", f"{DOCUMENT_WORDS}")
    engines = [config.engine(config.contrast)]
    names = ["tuned"]
    if config.contrast:
        engines.append(config.engine(0.0))
        names.append("without contrast")
    return [
        [Stage("collect", "collecting searches of the real engine", (
            "zs_env", "simulation", "collect", "--method", "explorer", "--engine", REAL,
            "--num-questions", f"{config.num_questions}", "--seed", f"{config.seed}",
            "--max-turns", f"{MAX_TURNS}", *episode, "--folder", f"{config.folder / 'searches'}",
        ), 60)],
        [Stage("judge", "judging them", (
            "zs_env", "simulation", "judge", f"{config.folder / 'searches'}", "--judge", "world",
        ), 12)],
        [Stage("pairs", "making pairs", (
            "zs_env", "simulation", "pairs", f"{config.folder / 'searches'}", "--judge", "world",
            "--template", "world", *episode, "--num-pairs", f"{config.num_pairs}",
            "--hide-answer-from-noisy", "--swap-share", "0.4", "--random-answer-share", "1",
            "--page-share", "0.12", "--noisy-share", "0.4", "--final-hop-share", "0.45",
            "--seed", f"{config.seed}", "--folder", f"{config.folder / 'pairs'}",
        ), 45)],
        [Stage("tune", "tuning the simulation LLM", (
            "agents.sft", "--data", f"{config.folder / 'pairs' / 'train.jsonl'}",
            "--held-out", f"{config.folder / 'pairs' / 'held_out.jsonl'}",
            "--folder", f"{config.folder / 'tuned'}", "--resume", "--seed", f"{config.seed}",
            "--epochs", f"{config.epochs}", "--batch-tokens", "2048", "--answer-weight", "5",
            "--output-dtype", "bfloat16",
        ), 900)],
        [
            Stage("fidelity", "measuring its fidelity", (
                "zs_env", "simulation", "fidelity", "--real", REAL, "--simulated", *engines,
                "--names", *names, "--queries", f"{config.folder / 'pairs'}",
                "--num-queries", f"{config.num_queries}", *episode, "--seed", f"{config.seed}",
                "--quiet", "--folder", f"{config.folder / 'fidelity'}",
            ), 120, ends_well=(0, FAILED)),  # the report counts searches that failed
            Stage("train-bm25", "training a policy on the real engine", (
                *_training(config, REAL), "--engine", REAL,
            ), 400),
        ],
        [Stage("train-simulated", "training a policy on the simulation LLM", (
            *_training(config, SIMULATED), "--engine", engines[0], "--noise", "exponential",
            "--noise-end", f"{config.noise_end:g}",
        ), 500)],
        [
            Stage(f"judge-{name}", f"judging the policy trained on {name}", (
                "zs_env", "evaluate", "--model", f"{_last_checkpoint(config, name)}",
                "--engine", REAL, "--num-questions", f"{config.num_test_questions}",
                "--max-turns", f"{MAX_TURNS}", "--quiet", "--folder", f"{config.judged(name)}",
            ), 60)
            for name in (SIMULATED, REAL)
        ],
    ]  # fmt: skip


def _training(config: MethodConfig, name: str) -> tuple[str, ...]:
    return (
        "agents.ppo", "--config", "instrument", "--seed", f"{config.seed}", "--resume",
        "--updates", f"{config.updates}", "--save-every", f"{config.updates}",
        "--test-engines", REAL, "--folder", f"{config.policy(name)}",
    )  # fmt: skip


def _last_checkpoint(config: MethodConfig, name: str) -> Path:
    return config.policy(name) / "checkpoints" / f"{config.updates:06d}"
