"""Options that all algorithms share: each field gives an option, its default and its help text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import torch
import tyro

from agents.sampling.policy import Policy
from agents.tiny import NAME
from agents.training.precision import Precision, uses_bfloat16
from zs_env.checks import as_share, check_choice
from zs_env.episodes import EpisodeSource, write_prompt
from zs_env.rules import Limits
from zs_env.settings import ChatSettings, Score, Split
from zs_env.tokens.chat import PolicyPrompt

MAX_SEED = 2**63 - 1

Decoding = Literal["greedy", "sampled"]
"""Way of playing an evaluation, see `Config.test_decoding`."""

C = TypeVar("C", bound="Config")


@dataclass(frozen=True)
class Config(ChatSettings):
    """Options of a training run. The defaults suit a small run on two cores.

    Raises:
        ValueError: an option is out of its range, or options contradict each other.
    """

    folder: Path = Path("runs/run")
    """Folder of the run: config, metrics, checkpoints, report."""
    resume: bool = False
    """Whether the run continues from the last checkpoint in the folder, if there is one.

    Weights, value head, optimizer, random state and the memory of the algorithm are restored.
    Metrics up to the checkpoint are kept; the order of questions follows from seed and update.
    The result is the same as without an interruption.
    Options must be those of the first start; options added since must have their defaults.
    Only these may change: folder, device, save_every, keep_checkpoints, sampler_url,
    sampler_folder, sampler_memory, sampler_tolerance, sampler_timeout_s.
    """
    seed: int = 0
    """Seed of the order of questions, noise, documents and sampling."""

    model: str = NAME
    """Model to train: tiny or tiny-credulous (bundled), a folder or a hub name of a causal LM."""
    precision: Precision = "auto"
    """Precision of the computation; weights stay in float32. auto: bfloat16 on a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on. auto: a GPU if there is one."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass, to save memory."""
    lora_rank: int = 0
    """Rank of low-rank adapters (peft), which alone are trained; 0 trains all weights."""

    questions: str = "world"
    split: Annotated[Split, tyro.conf.Suppress] = "train"
    engine: str = "world,mixture=natural"
    test_questions: str = "world"
    """Held-out questions, written as `questions`."""
    test_engines: tuple[str, ...] = ("world", "bm25")
    """Search engines to evaluate with, with their options, each written as `engine`."""
    num_test_questions: int = 500
    """Largest number of held-out questions in an evaluation."""
    test_decoding: tuple[Decoding, ...] = ("greedy",)
    """Ways of playing an evaluation; each plays all questions once, with every engine.

    greedy: the likeliest token. It shows what the policy prefers, and flips as soon as a search is
    likelier than none. sampled: tokens drawn at `temperature`, as in training. It follows what is
    learned update by update.
    """
    test_noise: float = 0.0
    """Noise probability of the searches of an evaluation; engines without noise ignore it."""
    chat_template_kwargs: Annotated[
        Mapping[str, Any] | None, tyro.conf.arg(constructor=json.loads, metavar="JSON")
    ] = None
    """Variables of the chat template, as a JSON object, such as {"enable_thinking": false}."""
    policy_prompt: Annotated[PolicyPrompt | None, tyro.conf.Suppress] = None
    """Prompt as the policy reads it; a run writes it when it begins, and keeps it."""
    top_k: int = 2
    document_words: int = 12
    reward: Score = "f1"
    noise_end: float = 0.25
    max_context: int = 640
    """Largest length of an episode, in tokens."""
    max_turn_tokens: int = 64
    """Largest length of a turn, in tokens."""

    updates: int = 36
    """Updates of the run; each plays episodes and learns from them."""
    questions_per_update: int = 256
    """Questions of an update."""
    group_size: int = 1
    """Episodes for each question."""
    sampler: Literal["transformers", "vllm"] = "transformers"
    """What samples the policy's tokens. transformers: the policy itself, in this process.

    vllm: vLLM, in processes that this one starts, which share its GPU and sleep while it learns,
    or behind sampler_url. It gets the new weights after each update.
    """
    sampler_url: tuple[str, ...] = ()
    """URLs of vLLM servers of the same model, each on GPUs of its own: http://host:8000."""
    sampler_folder: Path | None = None
    """Folder in which weights are handed to vLLM; by default weights, in the folder of the run.

    A fast one, such as below /dev/shm, saves time. Servers must see it under the same path.
    """
    sampler_memory: float = 0.3
    """Share of the GPU's memory that vLLM takes in the process."""
    sampler_tolerance: float = 0.0
    """Largest difference between vLLM's and the learner's log-probability of a token.

    It is looked for in a fixed text after each transfer of weights. 0: 0.001 in float32,
    0.5 in bfloat16.
    """
    sampler_timeout_s: float = 600.0
    """Longest time to wait for vLLM: to start, to take weights, or to end a turn."""
    concurrent_episodes: int = 256
    """Episodes that a process plays at the same time."""
    temperature: float = 1.0
    """Temperature of the policy, in sampling and in training."""
    epochs: int = 1
    """Passes over the episodes of an update."""
    minibatches: int = 4
    """Gradient steps of an epoch."""
    micro_batch_tokens: int = 3072
    """Tokens, padding included, of one pass through the model in scoring and learning."""
    learning_rate: float = 1e-3
    """Learning rate of the policy (the paper: 1e-6, for models a thousand times as large)."""
    critic_learning_rate: float = 1e-3
    """Learning rate of the value head."""
    learning_rate_decay: float = 0.9
    """Share by which both learning rates fall, linearly, until the end (the paper: 0)."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""
    max_grad_norm: float = 1.0
    """Largest norm of the gradient, to which it is clipped."""
    old_log_probs: Literal["auto", "learner", "sampler"] = "auto"
    """Source of the old log-probabilities in the probability ratio and the KL of an update.

    learner: the sampled tokens are scored once more before the update, so ratios begin at 1.
    sampler: those of sampling, which corrects for a sampler that differs from the learner.
    auto: the learner for the sampler vllm, for importance_cap and without mask_documents.
    Otherwise the sampler, which is the policy itself; it gives the values as well, and only a part
    of the tokens is scored once more, for the difference between both. That is logged as
    sampler_gap (largest) and sampler_gap_mean.
    """
    importance_cap: float = 0.0
    """Largest importance weight of a token, learner's over sampler's probability; 0: no weights.

    Truncated importance sampling (Espeholt et al. 2018; Yao et al. 2025) corrects for a sampler
    that differs from the learner, beside the ratio. It needs old_log_probs learner; 2 is usual.
    """
    kl_coef: float = 0.001
    """Weight of the KL divergence from the policy that training began with; 0 leaves it out."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    mask_documents: bool = True
    """Whether document tokens are kept out of the loss; False is for studying the effect."""
    max_kl: float = 1.0
    """Largest KL divergence of an update, in nats a token; the run stops at a larger one."""

    evaluate_every: int = 18
    """Updates between evaluations; there is also one at the beginning and one at the end."""
    save_every: int = 9
    """Updates between checkpoints."""
    keep_checkpoints: int = 2
    """Number of checkpoints that are kept."""

    def __post_init__(self) -> None:
        """Check the values."""
        check_choices(self)
        self._check_ranges()
        self._check_evaluation()
        check_folder_name(self.folder)
        if self.old_log_probs == "sampler" and not self.mask_documents:
            raise ValueError(
                "`mask_documents` False needs `old_log_probs` 'learner', got 'sampler': document "
                "tokens are in the loss, and no sampler has drawn them."
            )

        if self.importance_cap > 0 and self.old_log_probs == "sampler":
            raise ValueError(
                f"`importance_cap` needs `old_log_probs` 'learner', got {self.old_log_probs!r}: "
                "with the sampler's, the ratio corrects for the sampler already."
            )
        if self.sampler_url and self.sampler != "vllm":
            raise ValueError(f"`sampler_url` needs `sampler` 'vllm', got {self.sampler!r}.")

    def _check_evaluation(self) -> None:
        as_share("test_noise", self.test_noise)
        if not self.test_decoding or len(set(self.test_decoding)) < len(self.test_decoding):
            raise ValueError(
                "`test_decoding` must name at least one way of playing, and each once, got "
                f"{self.test_decoding!r}. For no evaluation, leave `test_engines` empty."
            )

    def _check_ranges(self) -> None:
        positive = (
            "updates questions_per_update group_size concurrent_episodes epochs minibatches "
            "micro_batch_tokens max_context max_turn_tokens evaluate_every save_every "
            "keep_checkpoints num_test_questions temperature learning_rate critic_learning_rate "
            "max_grad_norm max_kl sampler_timeout_s"
        )
        for name in positive.split():
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be greater than 0, got {getattr(self, name)}.")
        not_negative = (
            "kl_coef entropy_coef weight_decay lora_rank sampler_tolerance importance_cap"
        )
        for name in not_negative.split():
            if not getattr(self, name) >= 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        if not 0.0 <= self.learning_rate_decay <= 1.0:
            raise ValueError(
                f"`learning_rate_decay` must be in [0, 1], got {self.learning_rate_decay}."
            )
        if not 0.0 < self.sampler_memory < 1.0:
            raise ValueError(f"`sampler_memory` must be in (0, 1), got {self.sampler_memory}.")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"`seed` must be from 0 to 2**63 - 1, got {self.seed}.")

    def check_division(self, num_processes: int) -> None:
        """Check that the episodes of an update divide among processes and minibatches.

        Raises:
            ValueError: they do not.
        """
        parts = num_processes * self.minibatches
        if self.questions_per_update % num_processes or self.episodes_per_update % parts:
            raise ValueError(
                f"{self.questions_per_update} questions with {self.group_size} episodes each do "
                f"not divide into {self.minibatches} minibatches on {num_processes} processes: "
                "make `questions_per_update` a multiple of both."
            )

    @property
    def episodes_per_update(self) -> int:
        """Episodes of an update."""
        return self.questions_per_update * self.group_size

    @property
    def scores_again(self) -> bool:
        """Whether the old log-probabilities are those of the learner, see `old_log_probs`."""
        if self.old_log_probs != "auto":
            return self.old_log_probs == "learner"
        return self.sampler != "transformers" or self.importance_cap > 0 or not self.mask_documents

    def uses_bfloat16(self, device: torch.device) -> bool:
        """Return whether to compute in bfloat16 on ``device``."""
        return uses_bfloat16(self.precision, device)

    def keep_prompt(self: C, policy: Policy, saved: Mapping[str, Any]) -> C:
        """Return the options with the prompt that ``policy`` reads.

        Args:
            policy: policy with its tokenizer.
            saved: options of an earlier run as JSON types, whose prompt is kept; may be empty.

        Raises:
            ValueError: an option of the chat is wrong.
        """
        kept = saved.get("policy_prompt")
        prompt = PolicyPrompt(**kept) if kept else write_prompt(self, policy.encoder)
        return replace(self, policy_prompt=prompt)

    def make_source(self, policy: Policy) -> EpisodeSource:
        """Make the source of the episodes to train on, with lengths in tokens of ``policy``."""
        limits = Limits(self.max_context, self.max_turn_tokens, measure=policy.encoder)
        return EpisodeSource(self, limits, self.policy_prompt)

    def make_test_source(self, policy: Policy, engine: str) -> EpisodeSource:
        """Make the source of the held-out episodes, with ``engine`` for their searches."""
        test = replace(self, questions=self.test_questions, split="test", engine=engine)
        return test.make_source(policy)

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON types."""
        return as_json(self)


def as_json(options: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON types."""
    fields: dict[str, Any] = json.loads(json.dumps(asdict(options), default=str))
    return fields


def check_folder_name(folder: Path) -> None:
    """Check that ``folder`` is not the current one, which ``--folder ""`` means, too.

    Raises:
        ValueError: it is.
    """
    if Path(folder) == Path():
        raise ValueError("`folder` must be a folder of the run's own, got '' or '.'.")


def check_choices(options: object) -> None:
    """Check the fields of the dataclass ``options`` whose type is a Literal, or a tuple of some.

    Raises:
        ValueError: a field has none of the values of its type.
    """
    for name, kind in get_type_hints(type(options)).items():
        value = getattr(options, name)
        if get_origin(kind) is Literal:
            check_choice(name, value, get_args(kind))
        elif get_origin(kind) is tuple and get_origin(get_args(kind)[0]) is Literal:
            for each in value:
                check_choice(name, each, get_args(get_args(kind)[0]))
