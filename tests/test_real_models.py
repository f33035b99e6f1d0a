"""The path of real models: another architecture and tokenizer, real questions, real passages."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from agents.ppo import PPOConfig
from agents.ppo import train as train_ppo
from agents.training.checkpoint import last_checkpoint
from agents.training.metrics import read_metrics
from tests.algorithms import ALGORITHMS
from zs_env.commands.main import main as zs_env

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
QUESTIONS = DATA / "hotpotqa_dev.jsonl"
PASSAGES = DATA / "wikipedia_passages.jsonl"


@pytest.fixture(scope="module")
def real_text(tmp_path_factory):
    """Questions and passages: real ones where they lie beside the project, else a few lines."""
    if QUESTIONS.is_file() and PASSAGES.is_file():
        return QUESTIONS, PASSAGES
    folder = tmp_path_factory.mktemp("text")
    questions, passages = folder / "questions.jsonl", folder / "passages.jsonl"
    questions.write_text('{"question": "What is the capital of Peru?", "answers": ["Lima"]}\n')
    passages.write_text('{"id": "1", "title": "Peru", "text": "Lima is the capital of Peru."}\n')
    return questions, passages


@pytest.fixture(scope="module")
def qwen(tmp_path_factory, real_text):
    """A random Qwen2 with a byte-level BPE tokenizer trained on the passages."""
    folder = tmp_path_factory.mktemp("qwen")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(real_text[1].read_text().splitlines(), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=fast.eos_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ALGORITHMS)
def test_training_runs_with_real_model_questions_and_passages(
    name, qwen, real_text, tmp_path, capsys
):
    train, config = ALGORITHMS[name]
    questions, passages = map(str, real_text)
    run = tmp_path / name
    train(
        config(
            folder=run,
            model=str(qwen),
            questions=questions,
            test_questions=questions,
            engine=passages,
            test_engines=(passages,),
            num_test_questions=4,
            updates=3,
            questions_per_update=4,
            group_size=2,
            minibatches=1,
            top_k=3,
            document_words=30,
            max_turns=3,
            max_context=1500,
            max_turn_tokens=24,
        )
    )
    metrics = read_metrics(run)
    assert [each["update"] for each in metrics] == [0, 1, 2, 3]
    assert all(each["response_mask_coverage"] == 1.0 for each in metrics[1:])
    assert all(each["turns"] > 1.0 for each in metrics[1:])
    checkpoint = last_checkpoint(run / "checkpoints")
    options = ["--engine", passages, "--num-questions", "4", "--quiet"]
    zs_env(["evaluate", "--model", str(checkpoint), *options])
    assert f"{questions}  " in capsys.readouterr().out  # those that the run was tested on


# peft asks transformers by a name that is going out of use.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_adapters_alone_are_trained(qwen, tmp_path):
    pytest.importorskip("peft")
    run = tmp_path / "lora"
    options = {
        "folder": run,
        "model": str(qwen),
        "lora_rank": 2,
        "gradient_checkpointing": True,
        "updates": 1,
        "questions_per_update": 4,
        "minibatches": 1,
        "num_test_questions": 2,
        "test_engines": ("world",),
        "max_context": 1500,
        "max_turn_tokens": 16,
        "max_turns": 2,
    }
    train_ppo(PPOConfig(**options))
    checkpoint = last_checkpoint(run / "checkpoints")
    assert (checkpoint / "adapter_model.safetensors").is_file()
    assert not (checkpoint / "model.safetensors").exists()
    zs_env(["evaluate", "--model", str(checkpoint), "--num-questions", "2", "--quiet"])
