"""How a simulation LLM of the embedded world is made: stages from searches to a tuned model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agents.ppo import PPOConfig
from agents.training.config_file import find_config, read_config
from studies.stage import Stage

INSTRUMENT = "instrument"
"""Setting that policies are trained in (`agents/configs`), and searches collected."""

REAL = "bm25"
"""Real engine that is collected from."""

TOP_K = "2 2 2 2 2 2 1 3 4 5"
"""Numbers of documents that it learns to write: mostly as many as policies read."""

RECIPE = (
    "--template", "world", "--hide-answer-from-noisy", "--swap-share", "0.8",
    "--random-answer-share", "1", "--page-share", "0.12", "--held-out-pages",
    "--noisy-share", "0.4", "--final-hop-share", "0.45",
    "--num-held-out", "2000", "--held-out-share", "0.1",
)  # fmt: skip
"""Options of `zs-env simulation pairs`."""

TUNING = (
    "--epochs", "1", "--answer-weight", "5", "--optimizer", "muon", "--output-dtype", "bfloat16",
)  # fmt: skip
"""Options of `agents.sft`."""


@dataclass(frozen=True)
class Pass:
    """One pass of tuning over pairs of its own.

    Attributes:
        variants: variants of each search among the pairs.
        batch_tokens: tokens of a step.
        learning_rate: highest learning rate of AdamW.
        muon_learning_rate: highest learning rate of Muon.
        steps: gradient steps; 0: one pass over the pairs.
        rename_share: share of the final hops whose entity gets a name that no entity has.
        model: model to tune; None: the bundled base policy.
        seconds: about how long tuning takes.
    """

    variants: int
    batch_tokens: int
    learning_rate: float
    muon_learning_rate: float
    steps: int = 0
    rename_share: float = 0.0
    model: Path | None = None
    seconds: float = 1_300


def search_stages(folder: Path, num_questions: int, seed: int) -> tuple[Stage, Stage]:
    """Return the stages that leave judged searches of the real engine in ``folder/searches``."""
    searches = f"{folder / 'searches'}"
    collect = (
        "zs_env", "simulation", "collect", "--method", "explorer", "--engine", REAL,
        "--num-questions", f"{num_questions}", "--seed", f"{seed}", *turns(), *documents(),
        "--folder", searches,
    )  # fmt: skip
    judge = ("zs_env", "simulation", "judge", searches, "--judge", "world")
    return (
        Stage("collect", "collecting searches of the real engine", collect, 40),
        Stage("judge", "judging them", judge, 12),
    )


def pairs_stage(name: str, folder: Path, num_pairs: int, seed: int, planned: Pass) -> Stage:
    """Return the stage that makes the pairs of one pass, in ``folder/name``."""
    renamed = ("--rename-share", f"{planned.rename_share:g}") if planned.rename_share else ()
    command = (
        "zs_env", "simulation", "pairs", f"{folder / 'searches'}", "--judge", "world", *RECIPE,
        *renamed, "--num-pairs", f"{num_pairs}", "--variants", f"{planned.variants}",
        "--top-k", *TOP_K.split(), "--document-words", f"{instrument().document_words}",
        "--seed", f"{seed}", "--quiet", "--folder", f"{folder / name}",
    )  # fmt: skip
    return Stage(name, "making pairs", command, 60)


def tune_stage(
    name: str, data: Path, folder: Path, seed: int, planned: Pass, processes: int
) -> Stage:
    """Return the stage that tunes on the pairs in ``data``, in a run folder ``folder``."""
    launch = (
        ("torch.distributed.run", "--nproc_per_node", f"{processes}", "-m") if processes > 1 else ()
    )
    steps = ("--steps", f"{planned.steps}") if planned.steps else ()
    model = () if planned.model is None else ("--model", f"{planned.model}")
    command = (
        *launch, "agents.sft", *model, "--data", f"{data}", "--folder", f"{folder}",
        *steps, "--batch-tokens", f"{planned.batch_tokens}",
        "--learning-rate", f"{planned.learning_rate:g}",
        "--muon-learning-rate", f"{planned.muon_learning_rate:g}", *TUNING, "--seed", f"{seed}",
        "--resume",
    )  # fmt: skip
    return Stage(name, "tuning the simulation LLM", command, planned.seconds)


@cache
def instrument() -> PPOConfig:
    """Return the options of the setting that policies are trained in."""
    return read_config(find_config(INSTRUMENT), PPOConfig)


def turns() -> tuple[str, ...]:
    """Return the option that gives episodes as many turns as in training."""
    return "--max-turns", f"{instrument().max_turns}"


def documents() -> tuple[str, ...]:
    """Return the options that ask for documents as policies read them."""
    trained = instrument()
    return "--top-k", f"{trained.top_k}", "--document-words", f"{trained.document_words}"
