"""Small runs of TRL's `GRPOTrainer` on the bundled policy, for its tests and benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.tiny import MODEL

EPISODES = {
    "questions": "world,kinds=1-hop+2-hop,sample=60",
    "top_k": 2,
    "document_words": 12,
    "max_turns": 3,
    "max_turn_tokens": 32,
}
"""Arguments of the adapter that suit the bundled policy."""


def make_config(folder: Path, **options: Any) -> Any:
    """Options of a run on the CPU, in float32, that writes no checkpoints."""
    from trl import GRPOConfig

    return GRPOConfig(
        **{
            "output_dir": str(folder),
            "use_cpu": True,
            "bf16": False,
            "max_steps": 2,
            "per_device_train_batch_size": 10,
            "num_generations": 5,
            "max_completion_length": 200,
            "gradient_checkpointing": False,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "seed": 7,
            **options,
        }
    )


def load_model() -> tuple[Any, Any]:
    """The bundled policy and its tokenizer."""
    from transformers import AutoModelForCausalLM

    from zs_env.tokens.tokenizers import read_tokenizer

    return AutoModelForCausalLM.from_pretrained(MODEL), read_tokenizer(MODEL)


def make_trainer(args: Any, search: Any, model: Any = None, **options: Any) -> Any:
    """A trainer with the episodes of ``search``."""
    from trl import GRPOTrainer

    return GRPOTrainer(
        **{
            "model": model or load_model()[0],
            "args": args,
            "processing_class": search.task.encoder.tokenizer,
            "train_dataset": search.train_dataset(),
            "rollout_func": search.rollout,
            "reward_funcs": search.reward,
            "callbacks": [search.callback],
            **options,
        }
    )
