"""The model of a `GRPOTrainer` as a sampler of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.sampler import GeneratorSampler


@contextmanager
def model_sampler(
    trainer: Any, encoder: TextEncoder, num_slots: int, *, greedy: bool
) -> Iterator[GeneratorSampler]:
    """Give a sampler of the trainer's model, without dropout, in the precision of its loss.

    Args:
        trainer: trainer whose model writes.
        encoder: encoder of its tokenizer.
        num_slots: largest number of episodes at a time.
        greedy: whether to take the most likely token.
    """
    import torch
    from trl.models import unwrap_model_for_generation

    from zs_env.llm.sampling.causal_model import CausalModel
    from zs_env.llm.sampling.generator import Generator

    with (
        unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
            gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
        ) as model,
        trainer.accelerator.autocast(),
        torch.no_grad(),
    ):
        was_training = model.training
        model.eval()
        try:
            generator = Generator(CausalModel(model, encoder.num_ids))
            yield GeneratorSampler(
                generator, encoder, num_slots, temperature=trainer.args.temperature, greedy=greedy
            )
        finally:
            model.train(was_training)
