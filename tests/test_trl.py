"""TRL's `SFTTrainer` on exported pairs. `make test-trl` runs this where TRL is installed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.helpers import tiny_model
from tests.pairs import make_pairs, write_pairs

pytestmark = [pytest.mark.trl, pytest.mark.filterwarnings("default")]

NUM_PAIRS = 12


@pytest.fixture(scope="module", params=["world", "chat"])
def model(request, tmp_path_factory):
    """A small random model, with the tokenizer of the world or a byte-pair one."""
    from agents.tiny.tokenizer import make_tokenizer
    from tests import chat_model

    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "world":
        return tiny_model(folder, make_tokenizer(line_breaks=True))
    return tiny_model(folder, chat_model.make_tokenizer())


@pytest.fixture
def pairs(model, tmp_path) -> Path:
    """Pairs as they are exported, with prompts as the chat template writes them.

    As messages, TRL would also learn what a template writes behind the end of the last one.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    made = make_pairs(NUM_PAIRS)
    for pair in made:
        messages = [{"role": "user", "content": pair["prompt"]}]
        pair["prompt"] = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
    return write_pairs(tmp_path / "pairs.jsonl", made)


@pytest.fixture
def trainer(model, pairs, tmp_path):
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    dataset = load_dataset(
        "json", data_files=str(pairs), split="train", cache_dir=str(tmp_path / "cache")
    )
    options = SFTConfig(
        output_dir=str(tmp_path / "trl"),
        max_steps=4,
        learning_rate=0.01,
        per_device_train_batch_size=NUM_PAIRS,
        per_device_eval_batch_size=NUM_PAIRS,
        logging_steps=1,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=options,
        train_dataset=dataset,
        eval_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(model),
    )


def loss_of_sft(model, tmp_path):
    """The loss before the first step, of agents.sft on the same pairs."""
    from agents.sft import train
    from agents.training.metrics import read_metrics
    from agents.tuning.config import SFTConfig

    data = write_pairs(tmp_path / "plain.jsonl", make_pairs(NUM_PAIRS))
    folder = tmp_path / "run"
    options = {"steps": 1, "batch_tokens": 100_000, "micro_batch_tokens": 500, "device": "cpu"}
    train(SFTConfig(data=data, held_out=data, folder=folder, model=str(model), **options))
    first, second = read_metrics(folder, "step")
    assert first["held_out/loss"] == pytest.approx(second["loss"], abs=1e-5)
    return second["loss"]


def test_trainer_of_trl_starts_from_the_same_loss_and_learns(model, trainer, tmp_path):
    assert trainer.evaluate()["eval_loss"] == pytest.approx(loss_of_sft(model, tmp_path), abs=1e-4)
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert len(losses) == 4 and all(map(math.isfinite, losses)) and losses[-1] < losses[0]
