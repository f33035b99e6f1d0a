"""What all algorithms have in common: a field is a default, a line of --help and an option."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from agents.sampling.policy import Policy
from agents.tiny import MODEL
from zs_env.episodes import EpisodeSource
from zs_env.rules import Limits
from zs_env.settings import Score, Settings, Split


@dataclass(frozen=True)
class Config(Settings):
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
    split: Annotated[Split, tyro.conf.Suppress] = "train"
    engine: str = "world"
    test_questions: str = "world"
    """Held-out questions, as `questions`."""
    test_engines: tuple[str, ...] = ("world", "bm25")
    """Engines to evaluate with, each as `engine`, options included."""
    num_test_questions: int = 500
    """Held-out questions that are evaluated, at most."""
    top_k: int = 2
    document_words: int = 12
    reward: Score = "f1"
    noise_end: float = 0.25
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

    def make_source(self, policy: Policy) -> EpisodeSource:
        """Make the source of the episodes to train on, whose lengths count tokens of ``policy``."""
        limits = Limits(self.max_context, self.max_turn_tokens, measure=policy.encoder)
        template = policy.begin_prompt(self.prompt_template)
        return EpisodeSource(replace(self, prompt_template=template), limits)

    def make_test_source(self, policy: Policy, engine: str) -> EpisodeSource:
        """Make the source of the held-out episodes, answered by ``engine``."""
        test = replace(self, questions=self.test_questions, split="test", engine=engine)
        return test.make_source(policy)

    def to_json(self) -> dict[str, Any]:
        """The options as JSON knows them."""
        options: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return options
