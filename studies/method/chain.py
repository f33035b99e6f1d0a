"""The chain: which commands it consists of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studies.simulator import (
    INSTRUMENT,
    REAL,
    Pass,
    documents,
    pairs_stage,
    search_stages,
    tune_stage,
    turns,
)
from studies.stage import Stage
from zs_env.checks import as_integer, as_share
from zs_env.commands.evaluate import FAILED
from zs_env.llm.bundled import MADE

SIMULATED = "simulated"
"""Name of the policy that is trained on the simulation LLM; the other is called `REAL`."""


@dataclass(frozen=True)
class MethodConfig:
    """Options of the chain."""

    folder: Path = Path("runs/method")
    """Folder of the chain."""
    seed: int = 0
    """Seed of collecting, of tuning and of both policies."""
    num_questions: int = 10_000
    """Train questions that are played to collect searches of the real engine."""
    num_pairs: int = 40_000
    """Pairs to tune the simulation LLM on, each of them read once."""
    variants: int = 2
    """Variants of each search among the pairs."""
    processes: int = 1
    """Processes that tune side by side, beside the policy that trains on the real engine."""
    num_queries: int = 500
    """Held-out queries to measure fidelity on."""
    contrast: float = 0.5
    """Weight of contrastive decoding of noisy documents; 0: none, as in the paper."""
    noise_end: float = 0.25
    """Noise probability at the end of the curriculum, which begins with 0."""
    updates: int = 50
    """Updates of each policy."""
    num_test_questions: int = 500
    """Held-out questions that the policies are evaluated on at the end."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name in (
            "num_questions",
            "num_pairs",
            "variants",
            "processes",
            "num_queries",
            "updates",
        ):
            as_integer(name, getattr(self, name), 1)
        as_share("noise_end", self.noise_end)

    @property
    def model(self) -> Path:
        """Folder of the tuned simulation LLM."""
        return self.folder / "tuned" / "model"

    def policy(self, name: str) -> Path:
        """Return the folder of a policy's run."""
        return self.folder / f"policy-{name}"

    def evaluated(self, name: str) -> Path:
        """Return the folder of a policy's evaluation."""
        return self.folder / f"evaluated-{name}"

    def engine(self, contrast: float) -> str:
        """Return the simulated engine as it is written."""
        return (
            f"simulated,llm=transformers_local,model={self.model},template=world,"
            f"hide_answer_from_noisy=true,contrast={contrast:g},"
            f"max_batch_size={MADE['max_batch_size']}"
        )


def stages_of(config: MethodConfig) -> list[list[Stage]]:
    """Return the stages in order; those of one list run side by side."""
    folder, seed = config.folder, config.seed
    collect, judge = search_stages(folder, config.num_questions, seed)
    planned = Pass(config.variants, 2048, 3e-3, 5e-3)
    pairs = pairs_stage("pairs", folder, config.num_pairs, seed, planned)
    tune = tune_stage("tune", folder / "pairs", folder / "tuned", seed, planned, config.processes)
    evaluations = [_evaluate(config, name) for name in (SIMULATED, REAL)]
    return [
        [collect],
        [judge],
        [pairs],
        [tune, _train(config, REAL, "--engine", REAL, seconds=650)],
        [_train_on_simulated(config)],
        [_fidelity(config), *evaluations],
    ]


def _fidelity(config: MethodConfig) -> Stage:
    weights = {"tuned": config.contrast, "without contrast": 0.0}
    names = list(weights) if config.contrast else ["tuned"]
    command = (
        "zs_env", "simulation", "fidelity", "--real", REAL,
        "--simulated", *(config.engine(weights[name]) for name in names), "--names", *names,
        "--queries", f"{config.folder / 'pairs'}", "--num-queries", f"{config.num_queries}",
        *documents(), "--seed", f"{config.seed}", "--quiet",
        "--folder", f"{config.folder / 'fidelity'}",
    )  # fmt: skip
    # Searches that failed are counted in the report.
    return Stage("fidelity", "measuring its fidelity", command, 120, ends_well=(0, FAILED))


def _train(config: MethodConfig, name: str, *engine: str, seconds: float) -> Stage:
    command = (
        "agents.ppo", "--config", INSTRUMENT, "--updates", f"{config.updates}",
        "--save-every", "5", "--test-engines", REAL, *engine, "--seed", f"{config.seed}",
        "--folder", f"{config.policy(name)}", "--resume",
    )  # fmt: skip
    return Stage(f"train-{name}", f"training a policy on {name}", command, seconds)


def _train_on_simulated(config: MethodConfig) -> Stage:
    noise = ("--noise", "exponential", "--noise-end", f"{config.noise_end:g}")
    engine = config.engine(config.contrast)
    return _train(config, SIMULATED, "--engine", engine, *noise, seconds=1_600)


def _evaluate(config: MethodConfig, name: str) -> Stage:
    checkpoint = config.policy(name) / "checkpoints" / f"{config.updates:06d}"
    command = (
        "zs_env", "evaluate", "--model", f"{checkpoint}", "--engine", REAL,
        "--num-questions", f"{config.num_test_questions}", *turns(), "--quiet",
        "--folder", f"{config.evaluated(name)}",
    )  # fmt: skip
    return Stage(f"evaluate-{name}", f"evaluating the policy trained on {name}", command, 60)
