"""Dry run: what a run needs and whether it can begin, without a GPU, a download or a server."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM

from agents.tiny.tokenizer import make_tokenizer
from agents.training.config import Config
from agents.training.memory_plan import GIB, Item, episodes_at_once, plan_cache, plan_memory
from agents.training.metrics import Metrics, read_metrics
from agents.training.model_sizes import (
    Architecture,
    ModelSizes,
    cut_down,
    measure_model,
    read_architecture,
)
from zs_env.actions import ANSWER, INFORMATION, SEARCH, THINK
from zs_env.engines import load_engine
from zs_env.errors import ZeroSearchError
from zs_env.question_sources import load_questions, world_of

C = TypeVar("C", bound=Config)
T = TypeVar("T")

MISTAKES = (ZeroSearchError, ValueError, TypeError, OSError, RuntimeError)
"""Errors that end a run with one line, and those of models that cannot be made."""


WORDS = (
    *(f"<{slash}{tag}>" for tag in (THINK, SEARCH, INFORMATION, ANSWER) for slash in ("", "/")),
    "person",
    "born",
)
"""Words of the tiny update: so few that a random model writes answers, and right ones."""


class Findings:
    """What a dry run has found.

    Attributes:
        rows: what, and its figure, in words.
        memory: what is in the memory of a GPU.
        reasons: what would stop the run.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []
        self.memory: list[Item] = []
        self.reasons: list[str] = []

    def attempt(self, name: str, function: Callable[[], T], shown: Callable[[T], str]) -> T | None:
        """Return what ``function`` does, with a row about it; None if it fails, for a reason."""
        try:
            made = function()
        except MISTAKES as error:
            self.reasons.append(f"{name}: {' '.join(str(error).split())}")
            self.rows.append((name, "no, see below"))
            return None
        self.rows.append((name, shown(made)))
        return made


def dry_run(
    train: Callable[[C], object], config: C, card_gib: float, *, check_servers: bool = False
) -> bool:
    """Check the options, compute the sizes of the run, and play one tiny update.

    The update is of a random model of two layers of the same family, with the embedded world, in a
    temporary folder. Nothing else is written. All that is found is printed.

    Args:
        train: function that trains with options.
        config: options of the run.
        card_gib: memory of a GPU, in units of 2**30 bytes.
        check_servers: whether to ask the engines if they can be used.

    Returns:
        Whether nothing was found that would stop the run.

    Raises:
        ValueError: there are several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("`dry_run` is for one process: call it without torchrun.")
    found = Findings()
    _check_parts(found, config, check_servers)
    _count(found, config)
    model = found.attempt("model", lambda: read_architecture(config.model), _family)
    if model is not None:
        measure = found.attempt("parameters", lambda: measure_model(model, config.lora_rank), _size)
        if measure is not None:
            _plan(found, config, measure, card_gib)
        found.attempt(
            "a tiny update of this family", lambda: play_tiny_update(train, config, model), _played
        )
    _print(found, card_gib)
    return not found.reasons


def play_tiny_update(
    train: Callable[[C], object], config: C, architecture: Architecture
) -> Metrics:
    """Train a random model of two layers for one update in the embedded world, on the CPU.

    Returns:
        Metrics of the update.
    """
    tokenizer: Any = make_tokenizer(WORDS)
    small = cut_down(architecture, len(tokenizer))
    small.eos_token_id, small.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    with tempfile.TemporaryDirectory() as place, torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        folder = Path(place) / "model"
        AutoModelForCausalLM.from_config(small).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        questions = Path(place) / "questions.jsonl"
        lines = [
            json.dumps({"question": f"{n} born?", "answers": ["person", "born"]}) for n in range(8)
        ]
        questions.write_text("\n".join(lines))
        changes: dict[str, Any] = {
            "folder": Path(place) / "run",
            "resume": False,
            "model": str(folder),
            "device": "cpu",
            "precision": "float32",
            "chat_template": "off",
            "system_prompt": None,
            "chat_template_kwargs": None,
            "questions": str(questions),
            "test_questions": str(questions),
            "engine": "zs_env.engines.world:load",
            "test_engines": (),
            "sampler": "transformers",
            "sampler_url": (),
            "updates": 1,
            "questions_per_update": 8,
            "minibatches": 1,
            "max_context": min(config.max_context, 640),
            "max_turn_tokens": min(config.max_turn_tokens, 32),
        }
        tiny = replace(config, **changes)
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            train(tiny)
        return read_metrics(tiny.folder)[-1]


def _check_parts(found: Findings, config: Config, check_servers: bool) -> None:
    world = (config.world_seed, config.world_size)

    def count(questions: str, split: str) -> int:
        return len(load_questions(questions, split, *world))

    def make(engine: str) -> None:
        about = [config.questions] if engine == config.engine else []
        about += [config.test_questions] if engine in config.test_engines else []
        for each in dict.fromkeys(world_of(questions, *world) for questions in about):
            load_engine(engine, *each, check=check_servers).close()

    for name, split in (("questions", "train"), ("test_questions", "test")):
        place = getattr(config, name)
        number = partial(count, place, split)
        found.attempt(name, number, partial("{1:,} ({0})".format, place))
    asked = "answers" if check_servers else "made, not asked"
    for engine in dict.fromkeys((config.engine, *config.test_engines)):
        found.attempt(f"engine {engine}", partial(make, engine), lambda _: asked)


def _count(found: Findings, config: Config) -> None:
    episodes = config.episodes_per_update
    written = min(config.max_context, config.max_turns * config.max_turn_tokens)
    searches = episodes * (config.max_turns - 1)
    kind = (
        f"{config.questions_per_update} questions with {config.group_size} episodes each, "
        f"{config.minibatches * config.epochs} gradient steps"
    )
    found.rows += [
        ("updates", f"{config.updates:,}, of {episodes:,} episodes: {kind}"),
        ("searches of an update, at most", f"{searches:,}"),
        (
            "searches of the run",
            f"{episodes * config.updates:,} with one an episode; "
            f"at most {searches * config.updates:,}",
        ),
        ("tokens of an update, at most", f"{episodes * config.max_context:,}"),
        ("of them written by the policy, at most", f"{episodes * written:,}"),
    ]


def _plan(found: Findings, config: Config, sizes: ModelSizes, card_gib: float) -> None:
    card = card_gib * GIB
    found.memory = plan_memory(config, sizes, card)
    cache = plan_cache(config, sizes, card)
    found.rows.append(
        (
            "key-value cache of the sampler",
            f"{cache.bytes_per_token:,} bytes a token; {_gib(cache.wanted)} for "
            f"{episodes_at_once(config)} episodes of {config.max_context:,} tokens",
        )
    )
    if cache.tokens is not None:
        whole = cache.tokens / config.max_context
        found.rows.append(
            (
                "vLLM's cache in its share of the GPU",
                f"{cache.tokens:,} tokens, {whole:.1f} whole episodes; others wait",
            )
        )
        if whole < 1:
            found.reasons.append(
                "vLLM's share of the GPU does not hold one episode: raise `sampler_memory`, lower "
                "`max_context`, or give servers by `sampler_url`."
            )
    for phase in ("sampling", "learning"):
        total = sum(getattr(item, phase) for item in found.memory)
        if total > card:
            found.reasons.append(
                f"{phase} needs {_gib(total)}, and the GPU has {_gib(card)}: lower "
                "`micro_batch_tokens`, `max_context` or `sampler_memory`, add "
                "`gradient_checkpointing`, train only `lora_rank` 16, or give vLLM another GPU by "
                '`sampler_url`; or see "Larger models: verl" in docs/training.md.'
            )


def _print(found: Findings, card_gib: float) -> None:
    console = Console()
    table = Table(title="The run", show_header=False)
    for row in found.rows:
        table.add_row(*row)
    console.print(table)
    if found.memory:
        table = Table(title=f"Memory of a GPU of {card_gib:g} GiB, computed", show_footer=True)
        table.add_column("what", "together")
        for phase in ("sampling", "learning"):
            total = sum(getattr(item, phase) for item in found.memory)
            fits = "fits" if total <= card_gib * GIB else "too much"
            table.add_column(phase, f"{_gib(total)}, {fits}", justify="right")
        for item in found.memory:
            table.add_row(item.name, *(_gib(size) for size in item[1:]))
        console.print(table)
    for reason in found.reasons:
        print(f"would stop the run: {reason}")
    if not found.reasons:
        print("Nothing was found that would stop the run.")


def _family(architecture: Architecture) -> str:
    return (
        f"{architecture.model_type}, {architecture.num_hidden_layers} layers of width "
        f"{architecture.hidden_size:,}, {architecture.vocab_size:,} logits"
    )


def _size(sizes: ModelSizes) -> str:
    trained = "" if sizes.trained == sizes.parameters else f", {sizes.trained:,} trained"
    return f"{sizes.parameters:,} ({sizes.parameters / 1e9:.2f} billion){trained}"


def _played(metrics: Metrics) -> str:
    return (
        f"{metrics['episodes']:.0f} episodes, {metrics['length']:.0f} tokens each, loss "
        f"{metrics.get('loss', 0.0):.3g}, gradient {metrics.get('gradient_norm', 0.0):.3g}"
    )


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
