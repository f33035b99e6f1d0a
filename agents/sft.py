"""Supervised fine-tuning on pairs of prompt and completion.

    python -m agents.sft --data pairs
    python -m agents.sft --data pairs/train.jsonl --held-out pairs/held_out.jsonl

Tunes a causal language model to write completions: of a simulation LLM, the documents that answer
a search. Only tokens of completions, and the token that ends them, are in the loss. The tuned model
is written to the folder `model` in that of the run, which transformers and vLLM load as it stands.

Departures from the paper (arXiv 2505.04588, section 3.2), which tunes by LLaMA-Factory:
- `answer_weight` can weigh the tokens of the names that documents state, or else of golden
  answers; the paper has no such weight.
- Pairs are packed into rows, in which they do not attend to one another; the loss is the same.
- Learning rate and batch size suit a small model.
"""

from __future__ import annotations

from agents.training.cli import run_main
from agents.tuning.config import SFTConfig
from agents.tuning.run import FineTuning


def train(config: SFTConfig) -> None:
    """Tune a model, and write it."""
    with FineTuning(config) as run:
        for step in run.steps():
            run.learn(step)
        run.export()


if __name__ == "__main__":
    run_main(train, SFTConfig)
