"""Train the small base policy.

    python -m agents.tiny.train

Trains on exercises (`agents.tiny.exercises`), then also on episodes of the crowd of
`agents.tiny.behaviours`, in embedded worlds whose seeds no run uses. Takes about an hour and a half
on one core. Writes weights, in bfloat16, and tokenizer to agents/tiny/model.

Repeating comes first because it teaches to tell entities apart long before reading does. The
optimizer is Muon for matrices and AdamW for the rest, which takes less than half the steps of AdamW
alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agents.supervised.batches import by_length, padded, padded_length
from agents.supervised.losses import NO_LABEL, shifted, summed_loss
from agents.supervised.optimizers import make_optimizers, take_step, warmup_cosine
from agents.tiny import MODEL
from agents.tiny.behaviours import LACKING, Demonstration, demonstrations
from agents.tiny.exercises import (
    Exercise,
    reading_exercise,
    repeating_exercise,
    rewriting_exercise,
    searching_exercise,
)
from agents.tiny.saving import save_model
from agents.tiny.tokenizer import make_tokenizer
from zs_env.actions import ANSWER, SEARCH, THINK
from zs_env.episode import Role
from zs_env.keyed_random import Stream
from zs_env.world import load_world
from zs_env.world.tokenizer import END_OF_TEXT

FIRST_WORLD_SEED = 1_000_000
"""First seed of the worlds to train on, far from the seeds that environments are given."""

LENGTHS = 16
"""What padded lengths are multiples of: kernels are prepared anew for each length."""

WARM_UP, FLOOR = 100, 0.03
"""Steps in which the learning rates rise, and the share of them that is left at the end."""

MAX_GRAD_NORM = 1.0

EXAMPLES_PER_WORLD = 3072
EXAMPLES_AT_ONCE = 768
SIZES = ("small", "hard", "small")
"""Sizes of the worlds, in turn."""

LABEL_SHARES = {
    "repeating": 0.6, "reading": 0.3, "searching": 0.25, "rewriting": 0.9, "episodes": 0.2,
}  # fmt: skip
"""Share of a batch's tokens that is learned, approximately, by kind of example."""

EXERCISES = {
    "repeating": repeating_exercise,
    "reading": reading_exercise,
    "searching": searching_exercise,
    "rewriting": rewriting_exercise,
}

Example = tuple[list[int], list[int]]
"""Token ids, and labels: the ids of the tokens to learn, `NO_LABEL` elsewhere."""


@dataclass(frozen=True)
class Config:
    """Options of the recipe."""

    output: Path = MODEL
    """Folder to write to."""
    start: Path | None = None
    """Policy to continue from, with this vocabulary (`agents.tiny.convert`); by default none."""
    seed: int = 0
    """Seed of weights and data."""
    steps: int = 6500
    """Optimizer steps."""
    save_every: int = 500
    """Steps between saves of the weights."""
    repeating_steps: int = 800
    """Steps at the beginning with repeating exercises only."""
    reading_steps: int = 1000
    """Steps after them with repeating and reading exercises."""
    exercise_share: float = 0.4
    """Share of the later steps with exercises."""
    credulity: float = 0.0
    """Probability that the crowd believes what a noisy search seems to say."""
    batch_tokens: int = 3072
    """Tokens of a step, padding included."""
    learning_rate: float = 6e-3
    """Highest learning rate of AdamW, which rises for 100 steps and then falls as a cosine."""
    muon_learning_rate: float = 1e-2
    """Highest learning rate of Muon."""
    weight_decay: float = 0.05
    """Weight decay of both optimizers."""
    hidden_size: int = 128
    """Width of the model."""
    layers: int = 4
    """Number of layers of the model."""


def make_model(config: Config, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Make a model with random weights, about a million by default, or those to start with."""
    if config.start is not None:
        return LlamaForCausalLM.from_pretrained(config.start, dtype=torch.float32)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=3 * config.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            initializer_range=0.04,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )


def encode_episode(demonstration: Demonstration, tokenizer: PreTrainedTokenizerFast) -> Example:
    """Encode an episode, of which the turns are learned, but no decision that was told."""
    ids: list[int] = []
    labels: list[int] = []
    turn = 0
    decision = tokenizer.encode(LACKING, add_special_tokens=False)
    end_of_thought = tokenizer.convert_tokens_to_ids(f"</{THINK}>")
    for segment in demonstration.episode.segments:
        by_policy = segment.role is Role.POLICY
        ended = segment.text.endswith((f"</{SEARCH}>", f"</{ANSWER}>"))
        text = segment.text + END_OF_TEXT if by_policy and not ended else segment.text
        new = tokenizer.encode(text, add_special_tokens=False)
        ids += new
        labels += new if by_policy else [NO_LABEL] * len(new)
        if by_policy and turn in demonstration.told:
            # The policy must not learn to lack a fact from turns that were told so.
            end = len(labels) - len(new) + new.index(end_of_thought)
            labels[end - len(decision) : end] = [NO_LABEL] * len(decision)
        turn += by_policy
    return ids, labels


def encode_exercise(exercise: Exercise, tokenizer: PreTrainedTokenizerFast) -> Example:
    """Encode an exercise, of which only the pieces to learn have labels."""
    ids: list[int] = []
    labels: list[int] = []
    for text, is_learned in exercise:
        new = tokenizer.encode(text, add_special_tokens=False)
        ids += new
        labels += new if is_learned else [NO_LABEL] * len(new)
    return ids, labels


def examples(
    kind: str, config: Config, tokenizer: PreTrainedTokenizerFast
) -> Iterator[list[Example]]:
    """Yield batches of one kind without end, each of examples of similar length."""
    seed = FIRST_WORLD_SEED + 1_000_000 * config.seed
    while True:
        world = load_world(seed, SIZES[seed % len(SIZES)])
        for first in range(0, EXAMPLES_PER_WORLD, EXAMPLES_AT_ONCE):
            if kind == "episodes":
                played = demonstrations(world, first, EXAMPLES_AT_ONCE, config.credulity)
                made = [encode_episode(each, tokenizer) for each in played]
            else:
                exercise = EXERCISES[kind]
                draws = (Stream(kind, seed, first + n) for n in range(EXAMPLES_AT_ONCE))
                made = [encode_exercise(exercise(world, draw), tokenizer) for draw in draws]
            lengths = [len(ids) for ids, _ in made]
            batches = list(by_length(lengths, config.batch_tokens, LENGTHS))
            for number in torch.randperm(len(batches)).tolist():
                yield [made[example] for example in batches[number]]
        seed += 1


def collate(batch: list[Example]) -> tuple[Tensor, Tensor]:
    """Return ids and labels, (B, T) each, int64, padded on the right."""
    length = padded_length(max(len(ids) for ids, _ in batch), LENGTHS)
    ids = padded([ids for ids, _ in batch], length, 0, torch.long)
    labels = padded([labels for _, labels in batch], length, NO_LABEL, torch.long)
    return ids, labels


def loss_of(model: LlamaForCausalLM, ids: Tensor, labels: Tensor, usual_labels: float) -> Tensor:
    """Return the summed cross-entropy of the labelled tokens, divided by ``usual_labels``.

    The divisor is the usual number of labels in such a batch. The actual number would give the
    tokens of a batch with few labels, as of short episodes, a greater weight.
    """
    chosen, targets = shifted(labels)
    hidden = model.model(ids, use_cache=False).last_hidden_state[chosen]
    return summed_loss(model.lm_head(hidden), targets) / usual_labels


def kind_of(step: int, config: Config) -> str:
    """Return the kind of examples at ``step``, a key of `LABEL_SHARES`."""
    if step < config.repeating_steps:
        return "repeating"
    draw = Stream("kind", config.seed, step)
    if step < config.repeating_steps + config.reading_steps:
        return draw.choice(("repeating", "reading", "searching"))
    if draw.integer(1000) >= 1000 * config.exercise_share:
        return "episodes"
    return draw.choice(("reading", "searching", "searching", "rewriting"))


def main(config: Config) -> None:
    """Train the base policy and save it."""
    torch.manual_seed(config.seed)
    tokenizer = make_tokenizer()
    model = make_model(config, tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    optimizers = make_optimizers(
        model, "muon", config.learning_rate, config.weight_decay, config.muon_learning_rate
    )
    sources = {kind: examples(kind, config, tokenizer) for kind in LABEL_SHARES}
    recent: dict[str, list[float]] = {kind: [] for kind in LABEL_SHARES}
    start = time.monotonic()
    for step in range(config.steps):
        kind = kind_of(step, config)
        usual_labels = LABEL_SHARES[kind] * config.batch_tokens
        loss = loss_of(model, *collate(next(sources[kind])), usual_labels)
        model.zero_grad()
        loss.backward()
        rate = warmup_cosine(step, config.steps, WARM_UP, FLOOR)
        take_step(optimizers, list(model.parameters()), rate, MAX_GRAD_NORM)
        recent[kind].append(loss.item())
        if (step + 1) % 50 == 0:
            means = ", ".join(f"{k} {sum(v) / len(v):.4f}" for k, v in recent.items() if v)
            seconds = time.monotonic() - start
            print(f"step {step + 1}: loss on {means}, {seconds:.0f} s", flush=True)
            recent = {kind: [] for kind in LABEL_SHARES}
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            save_model(model, tokenizer, config.output)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
