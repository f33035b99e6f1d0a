"""What all algorithms have in common: a field is a default, a line of --help and an option."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from agents.tiny import MODEL
from zs_env.factory import EpisodeFactory
from zs_env.prompts import PROMPT


@dataclass(frozen=True)
class Config:
    """Options of a training run. The defaults are those of the small run on two cores.

    Raises:
        ValueError: an option is out of its range, or options do not fit together.
    """

    folder: Path = Path("runs/run")
    """Folder of the run: config, metrics, checkpoints, report."""
    resume: bool = False
    """Go on from the last checkpoint in the folder, if there is one."""
    seed: int = 0
    """Fixes the order of questions, noise, documents and samples."""

    model: str = str(MODEL)
    """Folder or hub name of a causal language model; the bundled small one by default."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the computation; the weights stay in float32. auto: bfloat16 on a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute. auto: on a GPU if there is one."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass, to save memory."""
    lora_rank: int = 0
    """Train low-rank adapters of this rank only (peft); 0 trains all weights."""

    questions: str = "world"
    """world, or the path of a .jsonl or .parquet file."""
    engine: str = "world"
    """world, bm25, the path of a .jsonl corpus, or module:Class."""
    engine_options: str = "{}"
    """Arguments of the engine, as JSON."""
    test_questions: str = "world"
    """Held-out questions: world, or a file."""
    test_engines: tuple[str, ...] = ("world", "bm25")
    """Engines to evaluate with."""
    num_test_questions: int = 500
    """Held-out questions that are evaluated, at most."""
    max_turns: int = 5
    """Turns of an episode; the answer's turn counts."""
    top_k: int = 2
    """Documents for each search (the paper: 5)."""
    document_words: int = 12
    """About how many words a document has (the paper: 30)."""
    prompt_template: str = PROMPT
    """What the policy reads first; holds {question}."""
    reward: Literal["f1", "exact_match", "substring_match"] = "f1"
    """Score of the answer that is the reward."""
    noise: Literal["exponential", "linear", "constant", "random", "reverse"] = "exponential"
    """Schedule of the curriculum."""
    noise_start: float = 0.0
    """Share of noisy searches at the beginning."""
    noise_end: float = 0.25
    """Share of noisy searches at the end."""
    world_seed: int = 0
    """Seed of the embedded world."""
    world_size: Literal["tiny", "small", "medium", "large"] = "small"
    """Size of the embedded world."""
    max_context: int = 640
    """Tokens of an episode, at most."""
    max_turn_tokens: int = 64
    """Tokens of a turn, at most."""

    updates: int = 36
    """Rounds of playing and learning."""
    questions_per_update: int = 256
    """Questions of a round."""
    group_size: int = 1
    """Episodes for each question."""
    concurrent_episodes: int = 256
    """Episodes that a process plays at the same time."""
    temperature: float = 1.0
    """Of sampling and of the trained distribution."""
    epochs: int = 1
    """How often the episodes of a round are gone over."""
    minibatches: int = 4
    """Gradient steps an epoch."""
    micro_batch_tokens: int = 3072
    """Tokens that go through the model at once, padding included, in the update."""
    learning_rate: float = 1e-3
    """Of the policy (the paper: 1e-6, for models a thousand times as large)."""
    critic_learning_rate: float = 1e-3
    """Of the value head."""
    learning_rate_decay: float = 0.9
    """Share of both rates that is gone by the end; they fall linearly (the paper: 0)."""
    weight_decay: float = 0.0
    """Of AdamW."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    kl_coef: float = 0.001
    """Weight of the KL divergence from the policy that training began with; 0 leaves it out."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    mask_documents: bool = True
    """False trains on document tokens too, to study what that does."""
    max_kl: float = 1.0
    """Stop if an update moves the policy further than this (mean KL estimate, nats a token)."""

    evaluate_every: int = 18
    """Rounds between evaluations; the first and the last always are evaluated."""
    save_every: int = 9
    """Rounds between checkpoints."""
    keep_checkpoints: int = 2
    """Checkpoints that are kept."""

    def __post_init__(self) -> None:
        """Check the values."""
        positive = (
            "updates questions_per_update group_size concurrent_episodes epochs minibatches "
            "micro_batch_tokens max_context max_turn_tokens evaluate_every save_every "
            "keep_checkpoints num_test_questions temperature learning_rate critic_learning_rate "
            "max_grad_norm max_kl"
        )
        for name in positive.split():
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be greater than 0, got {getattr(self, name)}.")
        for name in ("kl_coef", "entropy_coef", "weight_decay", "lora_rank"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        if not 0.0 <= self.learning_rate_decay <= 1.0:
            raise ValueError(
                f"`learning_rate_decay` must be in [0, 1], got {self.learning_rate_decay}."
            )
        self.parsed_engine_options()

    def check_division(self, num_processes: int) -> None:
        """ValueError unless the questions of an update divide among processes and minibatches."""
        parts = num_processes * self.minibatches
        if self.questions_per_update % num_processes or self.episodes_per_update % parts:
            raise ValueError(
                f"{self.questions_per_update} questions with {self.group_size} episodes each do "
                f"not divide into {self.minibatches} minibatches on {num_processes} processes: "
                "make `questions_per_update` a multiple of both."
            )

    @property
    def episodes_per_update(self) -> int:
        """Episodes of a round."""
        return self.questions_per_update * self.group_size

    def uses_bfloat16(self, device: torch.device) -> bool:
        """Whether to compute in bfloat16 on ``device``."""
        if self.precision == "auto":
            return device.type == "cuda"
        return self.precision == "bfloat16"

    def parsed_engine_options(self) -> dict[str, Any]:
        """The engine's arguments."""
        try:
            options = json.loads(self.engine_options)
        except json.JSONDecodeError as error:
            raise ValueError(f"`engine_options` must be a JSON object: {error}") from None
        if not isinstance(options, dict):
            raise ValueError(f"`engine_options` must be a JSON object, got {options!r}.")
        return options

    def make_factory(self) -> EpisodeFactory:
        """Where the episodes to train on come from."""
        return self._make_factory(self.questions, "train", self.engine)

    def make_test_factory(self, engine: str) -> EpisodeFactory:
        """Where the held-out episodes come from, answered by ``engine`` without noise."""
        return self._make_factory(self.test_questions, "test", engine)

    def to_json(self) -> dict[str, Any]:
        """The options as JSON knows them."""
        options: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return options

    def _make_factory(self, questions: str, split: str, engine: str) -> EpisodeFactory:
        return EpisodeFactory(
            questions=questions,
            split=split,
            engine=engine,
            engine_options=self.parsed_engine_options() if engine == self.engine else {},
            max_turns=self.max_turns,
            top_k=self.top_k,
            document_words=self.document_words,
            reward=self.reward,
            noise=self.noise,
            noise_start=self.noise_start,
            noise_end=self.noise_end,
            world_seed=self.world_seed,
            world_size=self.world_size,
            prompt_template=self.prompt_template,
        )
