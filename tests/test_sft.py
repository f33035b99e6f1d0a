"""Runs of supervised fine-tuning: what they leave, resume, processes, adapters, use as a writer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from agents.sft import train
from agents.tiny.tokenizer import make_tokenizer
from agents.training.checkpoint import last_checkpoint
from agents.training.errors import CheckpointError, TrainingError
from agents.training.metrics import read_metrics, without_clocks
from agents.tuning.config import SFTConfig
from agents.tuning.encoding import encode_pair
from agents.tuning.pairs import PairsError, read_examples
from agents.tuning.report import begin_of, write_report
from agents.tuning.run import FineTuning
from agents.tuning.tokenizer import writing_tokenizer
from tests.helpers import tiny_model
from tests.pairs import WORDING, make_pairs, requests_and_pairs, same_documents, write_pairs
from tests.test_run import arguments
from zs_env.engines import load_engine
from zs_env.errors import TokenizerError
from zs_env.llm import ChatRequest, Message, load_llm
from zs_env.simulation.pair import CARD, file_hash

# peft asks transformers for it.
OLD_NAME = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
pytestmark = pytest.mark.filterwarnings(OLD_NAME)

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"), make_tokenizer())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pairs to learn, and held-out ones."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder / "held_out.jsonl", make_pairs(6, first=100))
    return write_pairs(folder / "train.jsonl", make_pairs(40)), folder / "held_out.jsonl"


@pytest.fixture
def options(model, files, tmp_path):
    return {
        "folder": tmp_path / "run",
        "model": str(model),
        "data": files[0],
        "held_out": files[1],
        "steps": 6,
        "batch_tokens": 512,
        "micro_batch_tokens": 200,
        "learning_rate": 0.01,
        "warmup_steps": 2,
        "log_every": 4,
        "evaluate_every": 3,
        "save_every": 2,
        "device": "cpu",
    }


def metrics_of(folder):
    return [without_clocks(metrics) for metrics in read_metrics(folder, "step")]


def weights(folder):
    return load_file(folder / "model.safetensors")


def assert_same(found, wanted):
    assert metrics_of(found) == metrics_of(wanted)
    now, then = weights(found / "model"), weights(wanted / "model")
    assert all(torch.equal(now[name], tensor) for name, tensor in then.items())


def test_run_leaves_metrics_curves_report_and_a_model(options, tmp_path):
    train(SFTConfig(**options))
    folder = options["folder"]
    metrics = metrics_of(folder)
    assert [each["step"] for each in metrics] == [0, 3, 4, 6]
    assert (metrics[0]["pairs"], metrics[0]["held_out"], metrics[0]["pairs_left_out"]) == (40, 6, 0)
    losses = ["loss", "useful_loss", "noisy_loss", "golden_loss"]
    evaluated = [m["step"] for m in metrics if all(f"held_out/{n}" in m for n in losses)]
    assert evaluated == [0, 3, 6]
    assert metrics[-1]["held_out/loss"] < metrics[0]["held_out/loss"]
    page = (folder / "report.md").read_text()
    assert "Held-out pairs: 6, of" in page and "| golden answers |" in page
    assert "(loss.png)" in page and (folder / "held_out.png").is_file()
    assert list((folder / "tensorboard").iterdir())
    tuned = folder / "model"
    config = json.loads((tuned / "generation_config.json").read_text())
    assert config["eos_token_id"] == 1
    assert AutoTokenizer.from_pretrained(tuned).chat_template
    loaded = AutoModelForCausalLM.from_pretrained(tuned)
    assert loaded.dtype == torch.float32 and loaded.config.vocab_size == 1176
    with pytest.raises(CheckpointError, match="holds a run already"):
        train(SFTConfig(**options))


def test_report_of_a_run_that_was_stopped_early_does_not_compare_a_figure_with_itself(tmp_path):
    """It gave the loss before as that after 0 steps."""
    (tmp_path / "config.json").write_text("{}")
    lines = [{"step": 0, "pairs": 8, "pairs_tokens": 99, "pairs_left_out": 0, "held_out/loss": 4.0}]
    lines += [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    page = write_report(tmp_path).read_text()
    assert "| before; not measured since |" in page and "after 0 steps" not in page
    assert "| all tokens | 4.0000 |\n" in page


def test_beginning_of_a_run_says_what_comes():
    counts = {"pairs": 1500.0, "pairs_tokens": 2e6, "held_out": 10.0}
    whole = "1,500 pairs of 2,000,000 tokens, 12 steps; 10 held-out pairs are measured first"
    assert begin_of(counts, 12) == whole
    assert (
        begin_of({"pairs": 8.0, "pairs_tokens": 9.0}, 1)
        == "8 pairs of 9 tokens, 1 steps; none held out"
    )


def test_folder_of_pairs_gives_both_files(options, tmp_path):
    known = {"hop": "final", "origin": "engine", "query": "", "question": "", "question_id": "",
             "template": "world:1"}  # fmt: skip
    hashes = {}
    for name, count in (("train.jsonl", 8), ("held_out.jsonl", 4)):
        file = write_pairs(tmp_path / name, [{**pair, **known} for pair in make_pairs(count)])
        hashes[name] = file_hash(file.read_bytes())
    (tmp_path / CARD).write_text(json.dumps({"files": hashes}))
    train(SFTConfig(**{**options, "data": tmp_path, "held_out": None, "steps": 1}))
    metrics = metrics_of(options["folder"])
    assert (metrics[0]["pairs"], metrics[0]["held_out"]) == (8, 4)
    assert "held_out/loss" in metrics[-1]


def test_file_of_the_model_can_be_in_another_dtype_than_is_computed_in(options):
    train(SFTConfig(**{**options, "steps": 1, "output_dtype": "bfloat16"}))
    folder = options["folder"] / "model"
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch.bfloat16}
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.float32


def test_precision_and_recomputing_change_the_figures_little(options):
    train(SFTConfig(**{**options, "steps": 2}))
    other = {"precision": "bfloat16", "gradient_checkpointing": True, "packing": True}
    folder = options["folder"].with_name("other")
    train(SFTConfig(**{**options, "steps": 2, "folder": folder}, **other))
    # Other pairs make the steps, so only the beginning is the same.
    found, wanted = metrics_of(folder)[0], metrics_of(options["folder"])[0]
    assert found == pytest.approx(wanted, rel=0.01) and found != wanted
    assert metrics_of(folder)[-1]["loss"] < wanted["held_out/loss"]


def stop_at(config, step, monkeypatch):
    learn = FineTuning.learn

    def learn_and_interrupt(run, number):
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)
        learn(run, number)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(FineTuning, "learn", learn_and_interrupt)
        train(config)
    assert stopped.value.code == 130


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "muon", "answer_weight": 4.0},
        {"packing": True, "row_tokens": 128},
        {"lora_rank": 2},
    ],
)
def test_run_stopped_and_resumed_equals_run_never_stopped(options, tmp_path, monkeypatch, changes):
    whole = SFTConfig(**options, **changes)
    parts = replace(whole, folder=tmp_path / "parts")
    train(whole)
    stop_at(parts, 4, monkeypatch)  # between lines of metrics, and between checkpoints
    assert last_checkpoint(parts.folder / "checkpoints").name == "000005"
    train(replace(parts, resume=True))
    assert_same(parts.folder, whole.folder)


@pytest.mark.slow
def test_run_killed_at_any_moment_resumes_to_the_same_figures(options, tmp_path):
    options["steps"] = 20
    whole, parts = options, {**options, "folder": tmp_path / "parts"}
    train(SFTConfig(**whole))
    command = [sys.executable, "-m", "agents.sft", *arguments(parts), "--resume"]
    for lines_before_kill in (2, 5):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(read(parts["folder"])) < lines_before_kill:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    train(SFTConfig(**parts, resume=True))
    assert_same(parts["folder"], whole["folder"])


def read(folder):
    return read_metrics(folder, "step") if folder.exists() else []


def test_run_that_has_ended_writes_the_model_again_if_it_is_gone(options):
    train(SFTConfig(**options))
    before = weights(options["folder"] / "model")
    (options["folder"] / "model" / "model.safetensors").unlink()
    train(SFTConfig(**options, resume=True))
    after = weights(options["folder"] / "model")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_run_with_other_pairs_is_not_resumed(options, tmp_path, monkeypatch):
    options["data"] = write_pairs(tmp_path / "train.jsonl", make_pairs(40))
    stop_at(SFTConfig(**options), 1, monkeypatch)
    write_pairs(options["data"], make_pairs(41))
    with pytest.raises(CheckpointError, match="`data` or `held_out` has changed"):
        train(SFTConfig(**options, resume=True))
    with pytest.raises(CheckpointError, match="answer_weight was 1.0, is 2.0"):
        train(SFTConfig(**options, resume=True, answer_weight=2.0))


@pytest.mark.slow
@pytest.mark.parametrize("packing", [False, True])
def test_two_processes_of_torchrun_train_as_one(options, tmp_path, packing):
    options |= {"packing": packing, "row_tokens": 128, "answer_weight": 2.0}
    one, two = options, {**options, "folder": tmp_path / "two"}
    train(SFTConfig(**one))
    words = arguments({**two, "packing": None})
    at = words.index("--packing")
    words[at : at + 2] = ["--packing" if packing else "--no-packing"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    result = subprocess.run(
        [sys.executable, *launcher, "-m", "agents.sft", *words],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for found, wanted in zip(metrics_of(two["folder"]), metrics_of(one["folder"]), strict=True):
        assert found == pytest.approx(wanted, rel=1e-4)
    now, then = weights(two["folder"] / "model"), weights(one["folder"] / "model")
    assert all(torch.allclose(now[name], tensor, atol=1e-4) for name, tensor in then.items())


def test_adapters_alone_are_trained_and_load_with_their_base_or_merged(options, model):
    from peft import PeftModel

    train(SFTConfig(**options, lora_rank=2))
    folder = options["folder"]
    names = {path.name for path in (folder / "adapters").iterdir()}
    assert "adapter_model.safetensors" in names and "model.safetensors" not in names
    ids = torch.arange(3, 40)[None]
    base = AutoModelForCausalLM.from_pretrained(model)
    before = base(ids).logits
    adapted = PeftModel.from_pretrained(base, folder / "adapters")(ids).logits
    merged = AutoModelForCausalLM.from_pretrained(folder / "model")(ids).logits
    assert torch.allclose(adapted, merged, atol=1e-4)
    assert not torch.allclose(before, merged, atol=1e-2)


def test_tuned_model_of_the_world_writes_the_documents_of_its_pairs(tmp_path):
    """The chain: pairs, tuning, the folder in a simulated engine, documents that are read."""
    requests, pairs = requests_and_pairs()
    data = write_pairs(tmp_path / "pairs.jsonl", pairs)
    (tmp_path / "wording.txt").write_text(WORDING)
    config = SFTConfig(data=data, folder=tmp_path / "run", steps=60, learning_rate=5e-3,
                       save_every=100, device="cpu")  # fmt: skip
    train(config)
    model = str(config.folder / "model")
    llm = load_llm("transformers_local", {"model": model})
    loaded = llm.load()
    for pair in read_examples(data):
        messages = (Message(**pair.messages[0]),)
        request = ChatRequest(messages, temperature=0, max_tokens=200)
        [written] = llm.complete([request])
        encoded = encode_pair(pair, loaded.tokenizer)
        assert encoded == encode_pair(pair, writing_tokenizer("tiny"))
        prompt = encoded.token_ids[: len(encoded) - encoded.num_learned]
        assert llm._read(loaded, request).token_ids == prompt
        assert list(written.token_ids) == encoded.token_ids[len(prompt) :]
        assert written.text == pair.completion.lower() and written.ended
    llm.close()
    engine = load_engine(
        {"name": "simulated", "llm": "transformers_local", "model": model, "temperature": 0,
         "template": str(tmp_path / "wording.txt")}
    )  # fmt: skip
    assert same_documents(engine.search(requests), pairs)
    engine.close()


def test_loss_that_is_no_number_ends_the_run_and_leaves_the_checkpoint(options):
    with pytest.raises(TrainingError, match="became nan in step"):
        train(SFTConfig(**{**options, "learning_rate": 1e30, "steps": 50, "save_every": 1}))
    assert (options["folder"] / "report.md").is_file()


def test_command_line_prints_what_is_wrong_as_one_line(options, tmp_path):
    options["data"] = tmp_path / "none.jsonl"
    command = [sys.executable, "-m", "agents.sft", *arguments(options)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == f"error: {options['data']}: there is no such file.\n"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "/no/such"}, TokenizerError, "'/no/such', which has none that can be read"),
        ({"max_length": 3}, PairsError, r"train\.jsonl: all 40 pairs are longer than 3 tokens"),
        ({"held_out": Path("empty.jsonl")}, PairsError, r"empty\.jsonl holds no pairs"),
        ({"data": Path("none.jsonl")}, PairsError, r"none\.jsonl: there is no such file"),
        ({"data": Path("other.jsonl")}, TokenizerError, "unknown to the tokenizer"),
        ({"max_length": 5000}, ValueError, "at most the context of the model, 2,048 tokens"),
    ],
)
def test_bad_input_is_one_clear_error(options, tmp_path, monkeypatch, changes, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("")
    write_pairs(tmp_path / "other.jsonl", [{"prompt": "Zaphod", "completion": "Beeblebrox"}])
    with pytest.raises(error, match=message):
        train(SFTConfig(**{**options, **changes}))


def test_model_without_weights_is_refused(options, model, tmp_path):
    folder = tiny_model(tmp_path / "damaged", make_tokenizer())
    (folder / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="cannot be loaded"):
        train(SFTConfig(**{**options, "model": str(folder)}))
