"""Everything around supervised fine-tuning: pairs, metrics, checkpoints, evaluation, stopping."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from agents.sampling.policy import add_adapters, load_model
from agents.supervised.batches import packed
from agents.training import checkpoint as checkpoints
from agents.training.errors import CheckpointError
from agents.training.folder_run import FolderRun
from agents.training.memory import explain_memory, recompute_activations
from agents.training.metrics import TIMING, Metrics
from agents.tuning.config import SFTConfig
from agents.tuning.encoding import EncodedPair, encode_pairs
from agents.tuning.export import dtype_of, export
from agents.tuning.pairs import PairsError, file_of, held_out_of, read_examples
from agents.tuning.plan import Plan
from agents.tuning.report import begin_of, line_of, write_report
from agents.tuning.rows import Row
from agents.tuning.tokenizer import writing_tokenizer
from agents.tuning.tuner import Tuner
from zs_env.simulation.pair import HELD_OUT, TRAIN
from zs_env.tokens.chat import check_variables

ADVICE = (
    "Lower `micro_batch_tokens`, `row_tokens` or `max_length`, add `gradient_checkpointing`, or "
    "train only `lora_rank` 16. A model too large for one GPU belongs to TRL or LLaMA-Factory: see "
    "docs/tuning.md."
)

MEANS = ("loss", "gradient_norm")
"""Figures of which metrics hold the mean over steps; of others they hold the last."""


class FineTuning(FolderRun[SFTConfig]):
    """Run of supervised fine-tuning and its folder, to be used as a context manager.

    Args:
        config: options of the run.

    Raises:
        ValueError: options, model or pairs are wrong.
        CheckpointError: see `FolderRun`; or the files of pairs have changed since the first start.

    Attributes:
        plan: which pairs are learned at which step.
        tuner: tuner, which takes the gradient steps.
        tokenizer: tokenizer of the model.
    """

    counter = "step"

    def __init__(self, config: SFTConfig) -> None:
        super().__init__(config)
        self.tokenizer = writing_tokenizer(config.model)
        check_variables(self.tokenizer, config.chat_template_kwargs)
        with explain_memory(ADVICE):
            model = self._load_model()
        longest = config.longest(_context_of(model))
        self._counts: Metrics = {}
        self._digests: list[str] = []
        pairs = self._read("pairs", config.data, TRAIN, longest)
        place = held_out_of(config.data, config.held_out)
        held_out = self._read("held_out", place, HELD_OUT, longest) if place else []
        self._held_out = _as_rows(held_out, config)
        self._check_files()
        self.plan = Plan(pairs, config)
        with explain_memory(ADVICE):
            self.tuner = Tuner(model, config, self.processes)
        self._recent: Metrics = {}  # sums since metrics were written
        self._since = time.perf_counter()
        self.total = self.plan.total
        self.num_done = self._restore()

    def steps(self) -> Iterator[int]:
        """Yield the number of each step, from 0; in between, write metrics and checkpoints."""
        yield from self.iterations()

    def learn(self, step: int) -> None:
        """Take the gradient step ``step``; see `Tuner.learn`."""
        with explain_memory(ADVICE):
            figures = self.tuner.learn(self.plan.step(step), step, self.total)
        sums = {name: self._recent.get(name, 0.0) + figures[name] for name in (*MEANS, "tokens")}
        count = self._recent.get("steps", 0.0) + 1.0
        rate = figures["learning_rate"]
        self._recent = {**sums, "learning_rate": rate, "steps": count}

    def export(self) -> Path:
        """Write the tuned model; return its folder."""
        config = self.config
        came_in = dtype_of(config.model)
        dtype = came_in if config.output_dtype == "auto" else getattr(torch, config.output_dtype)
        model, tokenizer = self.tuner.scorer.model, self.tokenizer
        self.processes.on_main(lambda: export(model, tokenizer, config.folder, dtype, came_in))
        self._say(f"model: {config.folder / 'model'}, report: {config.folder / 'report.md'}")
        return config.folder / "model"

    def _before_first(self) -> None:
        self._say(begin_of(self._counts, self.total))
        self.metrics = {"step": 0, **self._counts}
        self._evaluate()
        self._write_metrics()
        self._since = time.perf_counter()

    def _after_iteration(self, is_last: bool) -> None:
        config, done = self.config, self.num_done
        evaluates = bool(self._held_out) and (is_last or done % config.evaluate_every == 0)
        if not (evaluates or is_last or done % config.log_every == 0):
            return
        count = self._recent["steps"]
        seconds = time.perf_counter() - self._since
        self.metrics = {
            "step": done,
            **{name: self._recent[name] / count for name in MEANS},
            "learning_rate": self._recent["learning_rate"],
            TIMING + "step": seconds / count,
            TIMING + "tokens_per_s": self._recent["tokens"] / seconds,
        }
        self._recent = {}
        if evaluates:
            self._evaluate()
        self._write_metrics()
        self._since = time.perf_counter()

    def _evaluate(self) -> None:
        start = time.perf_counter()
        if self._held_out:
            with explain_memory(ADVICE):
                self.metrics |= self.tuner.evaluate(self._held_out)
            self.metrics[TIMING + "evaluation"] = time.perf_counter() - start

    def _close(self) -> None:
        self.tuner.close()

    def _describe(self, metrics: Metrics) -> str:
        return line_of(metrics, self.total)

    def _write_report(self) -> None:
        write_report(self.config.folder)

    def _memory(self) -> dict[str, Any]:
        return {"recent": self._recent, "digests": self._digests}

    def _write_checkpoint(self, state: dict[str, Any]) -> None:
        def fill(folder: Path) -> None:
            checkpoints.save_pretrained(folder, self.tuner.scorer.model, self.tokenizer)
            groups = [
                checkpoints.save_optimizer(folder, optimizer, _optimizer_file(number))
                for number, optimizer in enumerate(self.tuner.optimizers)
            ]
            state_file = folder / checkpoints.STATE
            state_file.write_text(json.dumps({**state, "optimizers": groups}, indent=1))

        folder, keep = self.config.folder / "checkpoints", self.config.keep_checkpoints
        checkpoints.write_checkpoint(folder, self.num_done, fill, keep)

    def _restore(self) -> int:
        if self.checkpoint is None:
            return 0
        state = self._saved
        with checkpoints.reading(self.checkpoint):
            for number, optimizer in enumerate(self.tuner.optimizers):
                groups, name = state["optimizers"][number], _optimizer_file(number)
                checkpoints.load_optimizer(self.checkpoint, optimizer, groups, name)
            self._recent = state["recent"]
            self._restore_random_state()
            return int(state["step"])

    def _load_model(self) -> PreTrainedModel:
        config = self.config
        if self.checkpoint is not None:
            with checkpoints.reading(self.checkpoint):
                model = load_model(self.checkpoint)
        else:
            model = load_model(config.model)
            if config.lora_rank and hasattr(model, "peft_config"):
                raise ValueError("`lora_rank` must be 0, since `model` holds adapters already.")
            if config.lora_rank:
                model = add_adapters(model, config.lora_rank)
        if config.gradient_checkpointing:
            recompute_activations(model)
        moved: Any = model
        device: PreTrainedModel = moved.to(self.processes.device)
        return device

    def _read(self, name: str, path: Path, split: str, longest: int) -> list[EncodedPair]:
        config = self.config
        pairs = read_examples(path, split)
        file = file_of(path, split)
        self._digests.append(hashlib.sha256(file.read_bytes()).hexdigest())
        try:
            kept, left_out = encode_pairs(
                pairs, self.tokenizer, longest, config.max_unknown, config.chat_template_kwargs
            )
        except PairsError as error:
            raise PairsError(f"{file}: {error}") from None
        self._counts |= {
            name: len(kept),
            f"{name}_left_out": left_out,
            f"{name}_tokens": sum(map(len, kept)),
        }
        return kept

    def _check_files(self) -> None:
        """Check that the files of pairs are those that the run began with."""
        if self._saved and self._saved.get("digests") != self._digests:
            raise CheckpointError(
                f"{self.config.folder} was begun with other pairs: `data` or `held_out` has "
                "changed since. Resume with the same files, or choose another --folder."
            )


def _as_rows(pairs: Sequence[EncodedPair], config: SFTConfig) -> list[Row]:
    if not config.packing:
        return [[pair] for pair in sorted(pairs, key=len)]
    lengths = [len(pair) for pair in pairs]
    return [
        [pairs[n] for n in row] for row in packed(lengths, range(len(pairs)), config.row_tokens)
    ]


def _context_of(model: Any) -> int:
    """Return the length of the context of ``model``, in tokens."""
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(context) if context else 2**31


def _optimizer_file(number: int) -> str:
    return checkpoints.OPTIMIZER if number == 0 else f"optimizer-{number}.safetensors"
