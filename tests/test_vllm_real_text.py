"""The chain of a simulation LLM on real text, to the end: a tuned real model behind vLLM.

`make test-vllm` runs this in an environment that has vLLM, with the model that `make models` makes.
"""

from __future__ import annotations

import json

import pytest

from tests.make_model import FOLDER
from tests.real_text import questions_and_passages
from tests.simulation_data import one_search
from tests.vllm_server import vllm_server
from zs_env.commands.main import main
from zs_env.evaluation.options import PlayOptions
from zs_env.evaluation.run import Plan, evaluate
from zs_env.simulation.pair import read_card, read_pairs
from zs_env.simulation.searches import read_searches

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is missing: run `make models`."),
    # peft asks transformers by a name that is going out of use.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]

TOP_K, WORDS = 2, 8
FORM = ("--top-k", str(TOP_K), "--document-words", str(WORDS))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return questions_and_passages(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def pairs(text, tmp_path_factory):
    """Collected, judged by occurrence of the answer, and exported, by the commands of a user."""
    searches, folder = (tmp_path_factory.mktemp(name) for name in ("searches", "pairs"))
    questions, passages = map(str, text)
    asking = ["--method", "parts", "--questions", questions, "--num-questions", "400"]
    asking += ["--engine", f"bm25,corpus={passages}", "--top-k", "12", FORM[2], FORM[3]]
    main(["simulation", "collect", *asking, "--folder", str(searches), "--quiet"])
    main(["simulation", "judge", str(searches), "--judge", "answer", *FORM[:2], "--quiet"])
    making = ["--template", "fine-tuned", "--num-pairs", "6", "--num-held-out", "2"]
    making += ["--held-out-share", "0.25", "--licence", "cc-by-sa-4.0", *FORM, "--quiet"]
    main(["simulation", "pairs", str(searches), *making, "--folder", str(folder)])
    found = read_searches(searches).searches
    verdicts = {search.verdicts.get("answer") for search in found}
    assert verdicts >= {True, False} and all(search.world is None for search in found)
    return folder


@pytest.fixture(scope="module")
def tuned(pairs, tmp_path_factory):
    """A few steps of adapters on the real model."""
    pytest.importorskip("peft")
    from agents.sft import train
    from agents.tuning.config import SFTConfig

    run = tmp_path_factory.mktemp("tuned") / "run"
    options = {"steps": 3, "warmup_steps": 0, "learning_rate": 1e-3, "batch_tokens": 400}
    train(SFTConfig(pairs, None, run, model=str(FOLDER), lora_rank=8, device="cpu", **options))
    return run


def test_pairs_of_real_text_have_both_labels_and_a_card(pairs):
    train, held_out = read_pairs(pairs, "fine-tuned"), read_pairs(pairs, split="held_out")
    assert (len(train), len(held_out)) == (6, 2)
    assert not {pair.question_id for pair in train} & {pair.question_id for pair in held_out}
    card = read_card(pairs)
    assert card["licence"] == "cc-by-sa-4.0" and card["judge"]["name"] == "answer"


def test_few_steps_lower_the_loss_on_held_out_pairs(tuned):
    lines = [json.loads(line) for line in (tuned / "metrics.jsonl").read_text().splitlines()]
    before, after = (line["held_out/loss"] for line in (lines[0], lines[-1]))
    assert lines[-1]["step"] == 3 and after < before
    assert (tuned / "adapters" / "adapter_model.safetensors").is_file()


def test_vllm_serves_the_tuned_model_as_simulation_llm_of_ten_episodes(text, tuned, tmp_path):
    engine = {"name": "simulated", "model": "tiny", "template": "fine-tuned", "prefill": True}
    engine |= {"max_tokens": 60, "timeout_s": 600.0, "deadline_s": 1200.0}
    # Reading a prompt in chunks ends vLLM 0.32 on a CPU if a request has a seed, as each has here.
    options = ("--no-enable-chunked-prefill", "--max-model-len", "1024", "--max-num-seqs", "10")
    with vllm_server(tuned / "model", tmp_path / "log.txt", *options) as url:
        plan = Plan(
            model=one_search,
            questions=[str(text[0])],
            engines=[{**engine, "base_url": url}],
            num_questions=10,
            options=PlayOptions(noise=0.5, top_k=TOP_K, document_words=WORDS),
        )
        records = evaluate(plan, show_progress=False)
    assert [record.failure for record in records] == [None] * 10
    assert all(record.termination == "answered" for record in records)
    searches = [search for record in records for search in record.searches]
    assert len(searches) == 10 and all(search.documents for search in searches)
    assert {search.noisy for search in searches} == {True, False}
