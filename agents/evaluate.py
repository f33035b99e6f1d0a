"""Evaluate a policy on held-out questions.

    python -m agents.evaluate --checkpoint runs/ppo/checkpoints/000036 --engine bm25

Prints F1, exact match, searches an episode and invalid turns, with 95 % bootstrap intervals, by
number of hops. Takes half a minute for 500 questions and the small policy on two cores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from agents.sampling.policy import Policy, load_policy
from agents.training.checkpoint import STATE, load_state, reading
from agents.training.cli import run_main
from agents.training.config import Config, check_choices
from agents.training.distributed import Processes
from agents.training.evaluation import evaluate
from agents.training.metrics import Record
from zs_env import keyed_random
from zs_env.settings import ChatTemplate

COLUMNS = {
    "f1": "F1",
    "exact_match": "exact match",
    "searches": "searches",
    "invalid_share": "invalid turns",
}
NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of an evaluation."""

    checkpoint: str
    """Checkpoint of a run, or a model: tiny (the bundled one), a folder or a hub name."""
    engine: str = "world"
    """Search engine, with its options, written as in training."""
    noise: float = 0.0
    """Noise probability: the chance that a search gets noisy documents."""
    questions: str | None = None
    """Questions: world, or a file; by default those that the run was tested on."""
    num_questions: int = 500
    """Largest number of questions."""
    sample: bool = False
    """Whether tokens are sampled; by default the most likely one is taken."""
    top_k: int | None = None
    """Documents for each search; by default as in training."""
    document_words: int | None = None
    """Words of a document, approximately; by default as in training."""
    chat_template: ChatTemplate | None = None
    """Chat template of the tokenizer: on, off or auto; by default as in training."""
    system_prompt: str | None = None
    """System message of the chat; by default as in training."""
    chat_template_kwargs: Annotated[
        Mapping[str, Any] | None, tyro.conf.arg(constructor=json.loads, metavar="JSON")
    ] = None
    """Variables of the chat template, as a JSON object; by default as in training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on. auto: a GPU if there is one."""

    def __post_init__(self) -> None:
        """Check the values."""
        check_choices(self)
        if not 0.0 <= self.noise <= 1.0:
            raise ValueError(f"`noise` must be in [0, 1], got {self.noise}.")
        if self.num_questions < 1:
            raise ValueError(f"`num_questions` must be at least 1, got {self.num_questions}.")


def interval(records: Sequence[Record], name: str) -> tuple[float, float, float]:
    """Return the mean of a figure, and its 95 % bootstrap interval over episodes (percentiles).

    Args:
        records: figures of the episodes.
        name: name of the figure; ``invalid_share`` is a share of turns, the others are means.

    Returns:
        Mean, lower end and upper end.
    """
    if name == "invalid_share":
        numerator = np.array([record["invalid"] for record in records])
        denominator = np.array([record["turns"] for record in records])
    else:
        numerator = np.array([record[name] for record in records])
        denominator = np.ones(len(records))
    count = len(records)
    picks = keyed_random.integers(count, NUM_RESAMPLES * count, "bootstrap")
    picks = picks.reshape(NUM_RESAMPLES, count)
    resampled = numerator[picks].sum(1) / np.maximum(denominator[picks].sum(1), 1e-9)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(numerator.sum() / max(denominator.sum(), 1e-9)), float(low), float(high)


def table_of(records: Sequence[Record], title: str) -> Table:
    """Return a table of figures with intervals, by number of hops and for all questions."""
    table = Table("hops", "questions", *COLUMNS.values(), title=title)
    hops = sorted({record["hops"] for record in records})
    for hop in [*(hops if len(hops) > 1 else []), None]:
        chosen = [record for record in records if hop is None or record["hops"] == hop]
        cells = ("{:.3f} [{:.3f}, {:.3f}]".format(*interval(chosen, n)) for n in COLUMNS)
        label = "all" if hop is None else f"{hop:.0f}"
        table.add_row(label, str(len(chosen)), *cells, end_section=hop == hops[-1])
    return table


def load(checkpoint: str) -> tuple[Config, Policy]:
    """Return the options that a checkpoint was trained with, and its policy.

    Options that no longer exist are left out. A model without options gets the defaults.

    Raises:
        CheckpointError: the checkpoint is damaged.
        ValueError: there is no such model.
    """
    folder = Path(checkpoint)
    if not (folder / STATE).is_file():
        config = Config()
        return config, load_policy(checkpoint, temperature=config.temperature)
    state = load_state(folder)
    with reading(folder):
        known = {f.name for f in fields(Config)} - {"folder", "policy_prompt"}
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in state["config"].items()
            if name in known
        }
        config = Config(**options)
        policy = load_policy(checkpoint, temperature=config.temperature)
        return config.keep_prompt(policy, state["config"]), policy


def main(options: EvaluateConfig) -> None:
    """Evaluate a policy and print the table."""
    config, policy = load(options.checkpoint)
    chosen: dict[str, Any] = {
        "test_questions": options.questions,
        "top_k": options.top_k,
        "document_words": options.document_words,
    }
    chosen = {name: value for name, value in chosen.items() if value is not None}
    config = replace(config, **chosen, num_test_questions=options.num_questions)
    chat = {name: getattr(options, name) for name in config.chat}
    chat = {name: value for name, value in chat.items() if value is not None}
    if chat:
        config = replace(config, **chat, policy_prompt=None)
    processes = Processes(options.device)
    policy = policy.to(processes.device)
    source = config.make_test_source(policy, options.engine)
    records = evaluate(
        policy, source, config, processes, noise=options.noise, greedy=not options.sample
    )
    if processes.is_main:
        title = f"{options.checkpoint}: engine {options.engine}, noise {options.noise}"
        Console().print(table_of(records, title))
    processes.close()


if __name__ == "__main__":
    run_main(main, EvaluateConfig)
