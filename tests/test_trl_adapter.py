"""The adapter to TRL, with a real `GRPOTrainer`. `make test-trl` has an environment for it."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agents.tiny import MODEL
from tests.trl_runs import EPISODES, load_model, make_config, make_trainer
from zs_env.adapters import versions
from zs_env.errors import DependencyVersionError, ServiceError, TokenizerError
from zs_env.testing import AdapterContract, FailingEngine, Played, ScriptedPolicy

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.trl, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def tokenizer():
    return load_model()[1]


def make_search(args, tokenizer, **options):
    from zs_env.adapters.trl import SearchRollouts

    return SearchRollouts(args, tokenizer, **{**EPISODES, **options})


class Spy:
    """A reward function that keeps what TRL gives it, and what it gives back."""

    __name__ = "reward"

    def __init__(self, search):
        self.search = search
        self.columns = {}
        self.rewards = []

    def __call__(self, **columns):
        self.columns = columns
        self.rewards = self.search.reward(**columns)
        return self.rewards


def generate(trainer, question_ids, group_size):
    """The batch that TRL trains on, as tensors."""
    rows = [{"prompt": each} for each in question_ids for _ in range(group_size)]
    return trainer._generate_and_score_completions(rows)


def loss_mask(batch):
    """Where TRL's loss looks: its own product of two masks, in which 1 contributes."""
    return (batch["completion_mask"] * batch["tool_mask"]).bool()


class TestTRLContract(AdapterContract):
    """What is compared is what the loss of TRL gets."""

    def make_tokenizer(self):
        return load_model()[1]

    def play(self, task):
        count = len(task.question_ids) * task.group_size
        args = make_config(
            Path("unused"),
            per_device_train_batch_size=count,
            num_generations=task.group_size,
            max_completion_length=task.max_response,
            seed=task.seed,
        )
        from zs_env.adapters.trl import SearchRollouts

        def sampler(trainer):
            return task.policy.sample

        search = SearchRollouts(args, task.tokenizer, sampler=sampler, **task.arguments)
        spy = Spy(search)
        trainer = make_trainer(args, search, reward_funcs=spy)
        trainer.state.global_step, trainer.state.max_steps = task.step, task.total_steps
        trainer.model.train(not task.held_out)
        batch = generate(trainer, task.question_ids, task.group_size)
        prompts = batch["prompt_mask"].bool()
        written = batch["completion_mask"].bool()
        return [
            Played(
                batch["prompt_ids"][row][prompts[row]].tolist(),
                batch["completion_ids"][row][written[row]].tolist(),
                loss_mask(batch)[row][written[row]].tolist(),
                batch["sampling_per_token_logps"][row][written[row]].tolist(),
                spy.rewards[row],
                spy.columns["noisy"][row],
            )
            for row in range(count)
        ]


@pytest.fixture(scope="module")
def sampled(tokenizer, tmp_path_factory):
    """A trainer in its second half, and a batch that its own model has sampled."""
    args = make_config(tmp_path_factory.mktemp("run"), per_device_train_batch_size=20)
    trainer = make_trainer(args, make_search(args, tokenizer, noise_end=0.5))
    trainer.state.global_step, trainer.state.max_steps = 6, 10
    trainer.model.train()
    ids = trainer.train_dataset["prompt"][:4]
    return trainer, generate(trainer, ids, 5)


def largest_gap(sampled, mask):
    """Between the log-probabilities of the trainer and of the trajectory, where ``mask`` is set."""
    import torch

    trainer, batch = sampled
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    width = batch["completion_ids"].shape[1]
    with torch.no_grad():
        found, *_ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, attention, width)
    return float((found - batch["sampling_per_token_logps"]).abs()[mask].max())


def test_log_probabilities_of_trainer_and_trajectory_agree(sampled):
    mask = loss_mask(sampled[1])
    assert 0 < mask.sum() < sampled[1]["completion_mask"].sum()  # documents stand between turns
    assert largest_gap(sampled, mask) < 1e-4


@pytest.mark.parametrize("change", ["inverted", "shifted"])
def test_log_probabilities_disagree_under_another_mask(sampled, change):
    """So the test above sees a mask of other polarity, and one that is off by one."""
    mask, written = loss_mask(sampled[1]), sampled[1]["completion_mask"].bool()
    wrong = ~mask & written if change == "inverted" else mask.roll(1, dims=1) & written
    assert largest_gap(sampled, wrong) > 0.01


def test_members_of_a_group_draw_other_tokens(sampled):
    batch = sampled[1]
    rows = [tuple(ids[mask].tolist()) for ids, mask in zip(
        batch["completion_ids"], batch["completion_mask"].bool(), strict=True)]  # fmt: skip
    assert all(len(set(rows[first : first + 5])) > 1 for first in range(0, 20, 5))


def test_batches_of_a_step_draw_apart_and_evaluations_change_nothing(sampled):
    trainer = sampled[0]
    search, ids = trainer.rollout_func.__self__, trainer.train_dataset["prompt"][:2]
    tests = search.test_dataset()["prompt"][:2]

    def keys(question_ids, held_out=False):
        prompts = [each for each in question_ids for _ in range(5)]
        return [each.sampling_key for each in search._assign(prompts, trainer, held_out)]

    trainer.state.global_step = 8
    evaluated, first, again, second = keys(tests, True), keys(ids), keys(tests, True), keys(ids)
    place = {"seed": 7, "step": 8, "total_steps": 10}
    assert first == [
        search.task.assign(each, **place, member=member).sampling_key
        for each in ids
        for member in range(5)
    ]
    assert evaluated == again and len({*evaluated, *first, *second}) == 30
    assert trainer.state.global_step == 8


def test_trainer_trains_evaluates_and_logs_what_was_played(tokenizer, tmp_path):
    args = make_config(
        tmp_path,
        max_steps=4,
        per_device_eval_batch_size=8,
        num_generations_eval=1,
        eval_strategy="steps",
        eval_steps=4,
    )
    search = make_search(args, tokenizer, noise="linear", noise_end=1.0)
    trainer = make_trainer(args, search, eval_dataset=search.test_dataset().select(range(16)))
    before = [weights.detach().clone() for weights in trainer.model.parameters()]
    trainer.train()
    search.close()
    log = [line for line in trainer.state.log_history if "loss" in line]
    assert [line["search/noise_probability"] for line in log] == [0.0, 0.25, 0.5, 0.75]
    assert all(math.isfinite(line["loss"]) for line in log)
    # A group whose rewards are equal has no gradient.
    assert [line["grad_norm"] > 0 for line in log] == [line["reward_std"] > 0 for line in log]
    assert any(line["reward_std"] > 0 for line in log)
    for line in log:
        assert line["reward"] == pytest.approx(line["search/f1"], abs=1e-6)
        assert line["completions/mean_length"] == pytest.approx(line["search/response_length"])
    names = {"exact_match", "turns", "searches", "noisy_share", "failed_searches"}
    assert {f"search/{name}" for name in names} <= log[-1].keys()
    [test] = [line for line in trainer.state.log_history if "eval_reward" in line]
    assert test["eval_search/noise_probability"] == test["eval_search/noisy_share"] == 0.0
    assert test["eval_reward"] == pytest.approx(test["eval_search/f1"])
    changed = [
        not old.equal(new) for old, new in zip(before, trainer.model.parameters(), strict=True)
    ]
    assert all(changed)


def test_evaluation_is_greedy_and_the_same_each_time(tokenizer, tmp_path):
    args = make_config(tmp_path, per_device_eval_batch_size=16, num_generations_eval=1)
    search = make_search(args, tokenizer)
    trainer = make_trainer(args, search, eval_dataset=search.test_dataset().select(range(16)))
    first = trainer.evaluate()
    trainer.state.global_step = 9
    second = trainer.evaluate()
    names = [name for name in first if "search/" in name]
    assert names and [first[name] for name in names] == [second[name] for name in names]


def test_failed_searches_have_no_part_in_group_or_loss(tokenizer, tmp_path):
    """TRL would take a reward of None with tokens in the loss, or an empty mask with a reward."""
    args = make_config(tmp_path, per_device_train_batch_size=40)
    search = make_search(args, tokenizer, engine=FailingEngine("world", 0.4))
    spy = Spy(search)
    trainer = make_trainer(args, search, reward_funcs=spy)
    trainer.state.max_steps = 10
    trainer.model.train()
    with pytest.warns(UserWarning, match="episodes are left out because a search failed"):
        batch = generate(trainer, trainer.train_dataset["prompt"][:8], 5)
    failed = np.array(spy.columns["search_failed"])
    assert 0 < failed.sum() < 40
    assert not loss_mask(batch)[failed].any() and loss_mask(batch)[~failed].any(dim=1).all()
    assert [reward is None for reward in spy.rewards] == failed.tolist()
    advantages = np.zeros((8, 5))
    for group in range(8):
        kept = [n for n in range(5) if not failed[5 * group + n]]
        rewards = np.array([spy.rewards[5 * group + n] for n in kept])
        if len(kept) > 1:
            spread = rewards.std(ddof=1) + 1e-4
            advantages[group, kept] = (rewards - rewards.mean()) / spread
    assert batch["advantages"].numpy() == pytest.approx(advantages.ravel(), abs=1e-4)
    assert batch["num_items_in_batch"] == loss_mask(batch).sum()


def test_run_with_a_failing_engine_ends(tokenizer, tmp_path):
    """A scripted policy searches more than a model does, and quickly."""
    args = make_config(tmp_path, max_steps=20, max_completion_length=320)
    engine = "zs_env.testing:FailingEngine,share=0.1"
    search = make_search(args, tokenizer, engine=engine, sampler=lambda _: policy.sample)
    ids = search.train_dataset()["prompt"]
    policy = ScriptedPolicy(search.task.source, ids, search.task.encoder)
    trainer = make_trainer(args, search)
    trainer.train()
    log = [line for line in trainer.state.log_history if "loss" in line]
    assert len(log) == 20 and all(math.isfinite(line["loss"]) for line in log)
    failed = [line["search/failed_searches"] for line in log]
    assert sum(failed) > 0 and 0 in failed
    # TRL counts a failed episode as one of length 0, and it counts in nothing of ours.
    for line, count in zip(log, failed, strict=True):
        assert 10 * line["completions/mean_length"] == pytest.approx(
            (10 - count) * line.get("search/response_length", 0.0)
        )
        assert line["reward"] == pytest.approx(line["search/reward"], abs=1e-6)


PROCESSES = """
import json, sys
from pathlib import Path

import torch.distributed

from tests.helpers import EchoEngine
from tests.trl_runs import EPISODES, load_model, make_config, make_trainer
from zs_env.adapters.trl import SearchRollouts
from zs_env.testing import ScriptedPolicy

class Keeper(EchoEngine):
    asked = []

    def search(self, requests):
        self.asked += [(r.question, r.turn, r.noisy, r.key) for r in requests]
        return super().search(requests)

folder = Path(sys.argv[1])
args = make_config(folder, max_steps=4, per_device_train_batch_size=6, num_generations=12)
model, tokenizer = load_model()
options = {**EPISODES, "noise_start": 0.5, "noise_end": 0.5}
sampler = lambda trainer: policy.sample  # it searches more than the model
search = SearchRollouts(args, tokenizer, engine=Keeper(), sampler=sampler, **options)
ids = search.train_dataset()["prompt"]
policy = ScriptedPolicy(search.task.source, ids, search.task.encoder)
trainer = make_trainer(args, search, model)
trainer.train()
rank = trainer.accelerator.process_index
assert torch.distributed.get_world_size() == trainer.accelerator.num_processes == 2
result = {
    "asked": Keeper.asked,
    "log": [line for line in trainer.state.log_history if "loss" in line],
    "weight": float(sum(w.double().abs().sum() for w in trainer.model.parameters())),
}
(folder / f"rank{rank}.json").write_text(json.dumps(result))
"""


def test_two_processes_share_groups(tmp_path):
    """Groups of twelve, six of them a process: each group lies on both."""
    script = tmp_path / "processes.py"
    script.write_text(PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, str(script), str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    draws = [
        {(question, turn, key): noisy for question, turn, noisy, key in rank["asked"]}
        for rank in ranks
    ]
    shared = draws[0].keys() & draws[1].keys()
    assert shared and all(draws[0][each] == draws[1][each] for each in shared)
    # A question that both ask in a turn has the same key on both, so the same documents.
    places = [{(q, turn) for q, turn, _ in drawn} for drawn in draws]
    assert {(q, turn) for q, turn, _ in shared} == places[0] & places[1]
    assert ranks[0]["weight"] == ranks[1]["weight"]
    assert ranks[0]["log"][0]["search/f1"] == pytest.approx(ranks[0]["log"][0]["reward"], abs=1e-6)


BAD_OPTIONS = [
    ({"mask_truncated_completions": True}, "`mask_truncated_completions` must be False"),
    ({"top_k": 50}, "`top_k` of GRPOConfig must be 0, got 50"),
    ({"top_p": 0.9}, "`top_p` of GRPOConfig must be 1.0"),
    ({"generation_kwargs": {"num_beams": 2}}, "`generation_kwargs` of GRPOConfig must be None"),
    ({"use_vllm": True}, "`use_vllm` of GRPOConfig must be False"),
    ({"max_completion_length": 30}, "a response may have 30 tokens"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_option_of_the_trainer_that_does_not_fit_is_refused(tokenizer, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_search(make_config(tmp_path, **options), tokenizer)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"prompt": ["nobody"] * 10}, "got 'nobody': make it with the data set maker"),
        (
            {"question": ["Who?"] * 10},
            "got the columns question: make it with SearchRollouts.train",
        ),
        ({"prompt": [[{"role": "user", "content": "Who?"}]] * 10}, "rows hold the id of one of"),
    ],
)
def test_data_set_without_question_ids_is_refused_before_the_first_step(
    tokenizer, tmp_path, rows, message
):
    from datasets import Dataset

    args = make_config(tmp_path)
    trainer = make_trainer(
        args, make_search(args, tokenizer), train_dataset=Dataset.from_dict(rows)
    )
    with pytest.raises(ValueError, match=message):
        trainer.train()
    assert trainer.state.global_step == 0


@pytest.mark.parametrize(
    ("mine", "trainers", "message"),
    [
        ({}, {"max_completion_length": 300}, "give both the same GRPOConfig"),
        ({"max_completion_length": 2000}, {"max_completion_length": 2000}, "than the 2048 that"),
    ],
)
def test_trainer_that_does_not_fit_the_episodes_is_refused(
    tokenizer, tmp_path, mine, trainers, message
):
    search = make_search(make_config(tmp_path, **mine), tokenizer)
    with pytest.raises(ValueError, match=message):
        make_trainer(make_config(tmp_path, **trainers), search).train()


def test_another_tokenizer_of_the_trainer_is_refused(tokenizer, tmp_path):
    args = make_config(tmp_path)
    other = load_model()[1]
    other.add_tokens(["zebra"])
    trainer = make_trainer(args, make_search(args, tokenizer), processing_class=other)
    with pytest.raises(ValueError, match="and the trainer another one"):
        trainer.train()


def test_tokenizer_without_end_of_text_is_refused(tmp_path):
    other = load_model()[1]
    other.eos_token = None
    with pytest.raises(TokenizerError, match="no end-of-text"):
        make_search(make_config(tmp_path), other)


def test_engine_that_cannot_be_reached_is_refused(tokenizer, tmp_path):
    pytest.importorskip("aiohttp")
    with pytest.raises(ServiceError):
        make_search(make_config(tmp_path), tokenizer, engine="retrieval,url=http://127.0.0.1:9")


def test_another_version_of_trl_is_refused(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(versions, "version", lambda _: "2.0.0")
    with pytest.raises(DependencyVersionError, match="was tested with trl 1.16.0, got 2.0.0"):
        make_search(make_config(tmp_path), tokenizer)


def test_code_of_the_documentation_runs(tmp_path):
    """In half a minute: with fewer steps and episodes than the page says."""
    text = (ROOT / "docs" / "trl.md").read_text()
    code, *_ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code = re.sub(r"max_steps=\d+", "max_steps=1", code)
    code = re.sub(r"per_device_train_batch_size=\d+", "per_device_train_batch_size=5", code)
    code = re.sub(r"select\(range\(\d+\)\)", "select(range(4))", code)
    code = code.replace("Qwen/Qwen2.5-0.5B-Instruct", str(MODEL))
    code = code.replace("logging_steps=1", "logging_steps=1, use_cpu=True, bf16=False")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "eval_search/f1" in result.stdout
