"""TRL's `SFTTrainer` on exported pairs. `make test-trl` runs this where TRL is installed."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from agents.tiny.tokenizer import make_tokenizer
from agents.tuning.encoding import encode_pair
from agents.tuning.pairs import read_examples
from agents.tuning.tokenizer import end_id
from tests import chat_model
from tests.helpers import tiny_model
from tests.simulation_data import world_searches
from zs_env.simulation.card import make_card
from zs_env.simulation.export import write_pairs
from zs_env.simulation.make_pairs import make_pairs
from zs_env.simulation.recipe import Recipe
from zs_env.simulation.searches import Searches

pytestmark = pytest.mark.filterwarnings("default")

NUM_PAIRS = 12
RECIPE = Recipe(template="world", num_pairs=NUM_PAIRS, num_held_out=4, top_k=(2,), document_words=8)
TOKENIZERS = {"world": lambda: make_tokenizer(line_breaks=True), "chat": chat_model.make_tokenizer}
FILES = {"world": "train.jsonl", "chat": "trl_train.jsonl"}
"""What TRL is given: texts for a model that passes messages on unchanged, messages for others."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of pairs, as it is exported."""
    pytest.importorskip("torch")
    searches = world_searches(30)
    made = make_pairs(searches, "world", RECIPE)
    card = make_card(Searches(searches, Counter()), made, RECIPE, "world")
    return write_pairs(tmp_path_factory.mktemp("pairs"), made.pairs, card).parent


@pytest.fixture(scope="module", params=["world", "chat"])
def kind(request):
    """A model with the tokenizer of the world, or a byte-pair one with a chat template."""
    return request.param


@pytest.fixture(scope="module")
def model(kind, tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp(kind), TOKENIZERS[kind]())


@pytest.fixture
def trainer(kind, model, folder, tmp_path):
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    name = "default" if kind == "world" else "trl"
    cache = str(tmp_path / "cache")
    dataset = load_dataset(str(folder), name, split="train", cache_dir=cache)
    options = SFTConfig(
        output_dir=str(tmp_path / "trl"),
        max_steps=4,
        max_length=None,
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


def loss_of_sft(model, data, tmp_path):
    """The loss before the first step, of agents.sft on the same file."""
    from agents.sft import train
    from agents.training.metrics import read_metrics
    from agents.tuning.config import SFTConfig

    run = tmp_path / "run"
    options = {"steps": 1, "batch_tokens": 100_000, "micro_batch_tokens": 500, "device": "cpu"}
    train(SFTConfig(data=data, held_out=data, folder=run, model=str(model), **options))
    first, second = read_metrics(run, "step")
    assert first["held_out/loss"] == pytest.approx(second["loss"], abs=1e-5)
    return second["loss"]


def test_exported_files_are_encoded_as_one_chat(kind, folder):
    """The file for TRL held prompts as texts once, which TRL reads without the chat template."""
    tokenizer = TOKENIZERS[kind]()
    plain, given = (
        [encode_pair(pair, tokenizer) for pair in read_examples(folder / name)]
        for name in ("train.jsonl", FILES[kind])
    )
    assert len(given) == NUM_PAIRS
    assert [pair.token_ids for pair in given] == [pair.token_ids for pair in plain]
    assert [pair.labels for pair in given] == [pair.labels for pair in plain]


@pytest.mark.trl
def test_trainer_of_trl_starts_from_the_same_loss_and_learns(
    kind, model, trainer, folder, tmp_path
):
    data = folder / FILES[kind]
    tokenizer = TOKENIZERS[kind]()
    end = end_id(tokenizer)

    def cut(example):
        """Cut off what the chat template writes behind the end, which only TRL learns."""
        stop = len(example["input_ids"]) - example["input_ids"][::-1].index(end)
        return {name: example[name][:stop] for name in ("input_ids", "labels")}

    trainer.eval_dataset = trainer.eval_dataset.map(cut)
    pairs = [encode_pair(pair, tokenizer) for pair in read_examples(data)]
    assert list(trainer.eval_dataset["input_ids"]) == [pair.token_ids for pair in pairs]
    assert list(trainer.eval_dataset["labels"]) == [pair.labels for pair in pairs]
    loss = trainer.evaluate()["eval_loss"]
    assert loss == pytest.approx(loss_of_sft(model, data, tmp_path), abs=1e-4)
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert len(losses) == 4 and all(map(math.isfinite, losses)) and losses[-1] < losses[0]
