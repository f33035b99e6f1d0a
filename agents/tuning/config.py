"""Options of supervised fine-tuning: each field gives an option, its default and its help text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from agents.supervised.optimizers import OptimizerName
from agents.tiny import NAME
from agents.training.config import MAX_SEED, as_json, check_choices, check_folder_name
from agents.training.precision import Precision
from zs_env.checks import as_share


@dataclass(frozen=True)
class SFTConfig:
    """Options of supervised fine-tuning. The defaults suit the small model on two cores.

    Raises:
        ValueError: an option is out of its range, or options contradict each other.
    """

    data: Path = Path("pairs")
    """Pairs to learn: a folder of zs-env simulation pairs, or a file of JSON lines.

    Lines have prompt and completion, as texts or messages of a chat, or messages. label (useful,
    noisy), golden_answers and stated are used where they are there.
    """
    held_out: Path | None = None
    """Pairs to evaluate on, given as data. None: the held-out ones, if data is a folder."""
    folder: Path = Path("runs/sft")
    """Folder of the run: config, metrics, checkpoints, report, and the tuned model in model."""
    resume: bool = False
    """Whether the run continues from the last checkpoint in the folder, if there is one.

    Weights, optimizers, random state and unfinished figures are restored. The result is the same
    as without an interruption. Options and files must be those of the first start. Only these may
    change: folder, device, save_every, keep_checkpoints.
    """
    seed: int = 0
    """Seed of the order of pairs, and of new adapters."""

    model: str = NAME
    """Model to tune: tiny (bundled), a folder or a hub name of a causal LM."""
    chat_template_kwargs: Annotated[
        Mapping[str, Any] | None, tyro.conf.arg(constructor=json.loads, metavar="JSON")
    ] = None
    """Variables of the chat template, as a JSON object, such as {"enable_thinking": false}.

    They must be those that the simulated engine sends.
    """
    precision: Precision = "auto"
    """Precision of the computation; weights stay in float32. auto: bfloat16 on a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on. auto: a GPU if there is one."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass, to save memory."""
    lora_rank: int = 0
    """Rank of low-rank adapters (peft), which alone are trained; 0 trains all weights."""
    output_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Dtype of the weights in the tuned model's file. auto: the one that the model came in."""

    epochs: int = 1
    """Passes over the pairs, if steps is 0."""
    steps: int = 0
    """Gradient steps; 0: as many as the epochs need."""
    batch_tokens: int = 4096
    """Tokens of a step, padding included, over all processes."""
    micro_batch_tokens: int = 4096
    """Tokens, padding included, of one pass through the model."""
    packing: bool = False
    """Whether a row holds several pairs, which do not attend to one another.

    It needs a model with attention eager or sdpa. It pays where lengths differ much, or batches of
    few pairs have to be mixed. Without it, pairs of similar length share a batch, with padding.
    """
    row_tokens: int = 512
    """Largest length of a row of packed pairs, in tokens; no pair may be longer."""
    max_length: int = 0
    """Largest length of a pair, in tokens; longer ones are left out and counted.

    0: the context of the model, or row_tokens if that is less.
    """
    max_unknown: float = 0.01
    """Largest share of the tokens of the pairs that may be unknown to the tokenizer."""
    answer_weight: float = 1.0
    """Weight in the loss of the tokens of answers in completions; of all others it is 1.

    Answers are the names in stated, also those of earlier hops; in pairs where none of these occurs
    they are the golden answers.
    """

    optimizer: OptimizerName = "adamw"
    """Optimizer. muon: Muon for matrices, AdamW for embeddings and the rest."""
    learning_rate: float = 1e-3
    """Highest learning rate of AdamW; models of billions of weights need about 1e-5."""
    muon_learning_rate: float = 5e-3
    """Highest learning rate of Muon."""
    warmup_steps: int = 20
    """Steps in which the learning rates rise, linearly; then they fall as a cosine."""
    learning_rate_floor: float = 0.03
    """Share of the learning rates that is left at the end."""
    weight_decay: float = 0.01
    """Weight decay of the optimizers."""
    max_grad_norm: float = 1.0
    """Largest norm of the gradient, to which it is clipped."""

    log_every: int = 10
    """Steps between lines of metrics, which hold the means over these steps."""
    evaluate_every: int = 200
    """Steps between evaluations; there is also one at the beginning and one at the end."""
    save_every: int = 200
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    """Number of checkpoints that are kept."""

    def __post_init__(self) -> None:
        """Check the values."""
        check_choices(self)
        check_folder_name(self.folder)
        as_share("max_unknown", self.max_unknown)
        as_share("learning_rate_floor", self.learning_rate_floor)
        positive = (
            "epochs batch_tokens micro_batch_tokens row_tokens learning_rate muon_learning_rate "
            "max_grad_norm log_every evaluate_every save_every keep_checkpoints"
        )
        for name in positive.split():
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be greater than 0, got {getattr(self, name)}.")
        for name in "lora_rank steps max_length answer_weight warmup_steps weight_decay".split():
            if not getattr(self, name) >= 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"`seed` must be from 0 to 2**63 - 1, got {self.seed}.")
        self._check_together()

    def _check_together(self) -> None:
        if self.packing and self.row_tokens > self.batch_tokens:
            raise ValueError(
                f"`row_tokens` must not be greater than `batch_tokens`, got {self.row_tokens} and "
                f"{self.batch_tokens}: a step has one row at least."
            )
        if self.packing and self.max_length > self.row_tokens:
            raise ValueError(
                f"`max_length` must not be greater than `row_tokens`, got {self.max_length} and "
                f"{self.row_tokens}: a row must hold the longest pair."
            )
        if self.optimizer == "muon" and self.lora_rank:
            raise ValueError(
                "`optimizer` muon is for all weights of a model, not for adapters: choose adamw, "
                "or `lora_rank` 0."
            )

    def longest(self, context: int) -> int:
        """Return the largest length of a pair for a model with ``context`` tokens.

        Raises:
            ValueError: `max_length` is greater than the context.
        """
        if self.max_length > context:
            raise ValueError(
                f"`max_length` must be at most the context of the model, {context:,} tokens, got "
                f"{self.max_length:,}."
            )
        return self.max_length or (min(context, self.row_tokens) if self.packing else context)

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON types."""
        return as_json(self)
