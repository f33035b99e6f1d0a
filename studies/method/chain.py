"""The chain: which commands it consists of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agents.ppo import PPOConfig
from agents.training.config_file import find_config, read_config
from studies.method.stage import Stage
from zs_env.checks import as_integer, as_share
from zs_env.commands.evaluate import FAILED

INSTRUMENT = "instrument"
"""Setting that the policies are trained in (`agents/configs`)."""

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
    """Held-out questions that the policies are evaluated on at the end."""

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

    def evaluated(self, name: str) -> Path:
        """Return the folder of a policy's evaluation."""
        return self.folder / f"evaluated-{name}"

    def engine(self, contrast: float) -> str:
        """Return the simulated engine as it is written."""
        return (
            f"simulated,llm=transformers_local,model={self.model},template=world,"
            f"hide_answer_from_noisy=true,contrast={contrast:g}"
        )


def stages_of(config: MethodConfig) -> list[list[Stage]]:
    """Return the stages in order; those of one list run side by side."""
    collect, judge, pairs = _data(config)
    evaluations = [_evaluate(config, name) for name in (SIMULATED, REAL)]
    return [
        [collect],
        [judge],
        [pairs],
        [_tune(config), _train(config, REAL, "--engine", REAL)],
        [_fidelity(config), _train_on_simulated(config)],
        evaluations,
    ]


def _data(config: MethodConfig) -> tuple[Stage, Stage, Stage]:
    searches = f"{config.folder / 'searches'}"
    collect = (
        "zs_env", "simulation", "collect", "--method", "explorer", "--engine", REAL,
        "--num-questions", f"{config.num_questions}", "--seed", f"{config.seed}",
        *_turns(), *_documents(), "--folder", searches,
    )  # fmt: skip
    judge = ("zs_env", "simulation", "judge", searches, "--judge", "world")
    pairs = (
        "zs_env", "simulation", "pairs", searches, "--judge", "world", "--template", "world",
        "--hide-answer-from-noisy", "--swap-share", "0.4", "--random-answer-share", "1",
        "--page-share", "0.12", "--noisy-share", "0.4", "--final-hop-share", "0.45",
        "--num-pairs", f"{config.num_pairs}", "--num-held-out", "2000", "--held-out-share", "0.1",
        *_documents(), "--seed", f"{config.seed}", "--folder", f"{config.folder / 'pairs'}",
    )  # fmt: skip
    return (
        Stage("collect", "collecting searches of the real engine", collect, 60),
        Stage("judge", "judging them", judge, 12),
        Stage("pairs", "making pairs", pairs, 45),
    )


def _tune(config: MethodConfig) -> Stage:
    pairs = config.folder / "pairs"
    command = (
        "agents.sft", "--data", f"{pairs}",
        "--folder", f"{config.folder / 'tuned'}",
        "--epochs", f"{config.epochs}", "--batch-tokens", "2048", "--answer-weight", "5",
        "--output-dtype", "bfloat16", "--seed", f"{config.seed}", "--resume",
    )  # fmt: skip
    return Stage("tune", "tuning the simulation LLM", command, 900)


def _fidelity(config: MethodConfig) -> Stage:
    weights = {"tuned": config.contrast, "without contrast": 0.0}
    names = list(weights) if config.contrast else ["tuned"]
    command = (
        "zs_env", "simulation", "fidelity", "--real", REAL,
        "--simulated", *(config.engine(weights[name]) for name in names), "--names", *names,
        "--queries", f"{config.folder / 'pairs'}", "--num-queries", f"{config.num_queries}",
        *_documents(), "--seed", f"{config.seed}", "--quiet",
        "--folder", f"{config.folder / 'fidelity'}",
    )  # fmt: skip
    # Searches that failed are counted in the report.
    return Stage("fidelity", "measuring its fidelity", command, 120, ends_well=(0, FAILED))


def _train(config: MethodConfig, name: str, *engine: str) -> Stage:
    command = (
        "agents.ppo", "--config", INSTRUMENT, "--updates", f"{config.updates}",
        "--save-every", "5", "--test-engines", REAL, *engine, "--seed", f"{config.seed}",
        "--folder", f"{config.policy(name)}", "--resume",
    )  # fmt: skip
    return Stage(f"train-{name}", f"training a policy on {name}", command, 400)


def _train_on_simulated(config: MethodConfig) -> Stage:
    noise = ("--noise", "exponential", "--noise-end", f"{config.noise_end:g}")
    return _train(config, SIMULATED, "--engine", config.engine(config.contrast), *noise)


def _evaluate(config: MethodConfig, name: str) -> Stage:
    checkpoint = config.policy(name) / "checkpoints" / f"{config.updates:06d}"
    command = (
        "zs_env", "evaluate", "--model", f"{checkpoint}", "--engine", REAL,
        "--num-questions", f"{config.num_test_questions}", *_turns(), "--quiet",
        "--folder", f"{config.evaluated(name)}",
    )  # fmt: skip
    return Stage(f"evaluate-{name}", f"evaluating the policy trained on {name}", command, 60)


@cache
def _instrument() -> PPOConfig:
    return read_config(find_config(INSTRUMENT), PPOConfig)


def _turns() -> tuple[str, ...]:
    return "--max-turns", f"{_instrument().max_turns}"


def _documents() -> tuple[str, ...]:
    trained = _instrument()
    return "--top-k", f"{trained.top_k}", "--document-words", f"{trained.document_words}"
