"""The adapter to verl, with verl's own worker and transfer queue. `make test-verl` has them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from agents.tiny import MODEL
from benchmarks.chat_server import MODEL as CHAT_MODEL
from benchmarks.verl_queue import fetch, make_batches
from tests.verl_runs import Client, load_config, play, play_in_queue, prepare_run, scripted
from zs_env.adapters import versions
from zs_env.errors import DependencyVersionError, ServiceError, TokenizerError, ZeroSearchError
from zs_env.testing import AdapterContract, FailingEngine, Played, ScriptedPolicy

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.verl, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def ray_cluster():
    """Ray, with a transfer queue as the trainer of verl begins."""
    import ray
    import transfer_queue as tq
    from omegaconf import OmegaConf

    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    storage = {"total_storage_size": 1000, "num_data_storage_units": 1}
    tq.init(OmegaConf.create({"backend": {"SimpleStorage": storage}}))
    yield
    tq.close()
    ray.shutdown()


@pytest.fixture(scope="module")
def model():
    from benchmarks.model_server import ModelServer

    return ModelServer(str(MODEL), seed=3)


def question_ids(path, count, name="train"):
    import pyarrow.parquet as pq

    infos = pq.read_table(path.parent / f"{name}.parquet")["extra_info"].to_pylist()
    return [info["question_id"] for info in infos[:count]]


def as_played(row):
    reward = row["extra_fields"]["reward_extra_info"]["reward"]
    assert np.float32(reward) == row["rm_scores"].sum().numpy()  # verl keeps float32
    return Played(
        row["prompts"].tolist(),
        row["responses"].tolist(),
        row["response_mask"].bool().tolist(),
        row["rollout_log_probs"].tolist(),
        reward,
        row["extra_fields"]["noisy"],
    )


class TestVerlContract(AdapterContract):
    """What is compared are the tensors that verl's worker gives its trainer."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def make_tokenizer(self):
        from zs_env.tokens.tokenizers import read_tokenizer

        return read_tokenizer(MODEL)

    def play(self, task):
        path = prepare_run(
            self.folder,
            max_prompt_length=task.max_context - task.max_response,
            max_response_length=task.max_response,
            seed=task.seed,
            **task.arguments,
        )
        options = {
            "actor_rollout_ref.rollout.n": task.group_size,
            "trainer.total_training_steps": task.total_steps,
        }
        groups = play(
            load_config(path, **options),
            scripted(task.policy),
            task.question_ids,
            step=task.step + 1,
            held_out=task.held_out,
        )
        return [row and as_played(row) for group in groups for row in group]


@pytest.fixture(scope="module")
def sampled(model, tmp_path_factory):
    """Episodes that the bundled policy has played: five for each of four questions."""
    path = prepare_run(tmp_path_factory.mktemp("run"), noise_end=0.5)
    return play(load_config(path), Client(model.write), question_ids(path, 4), step=7)


def flat(groups):
    return [row for group in groups for row in group]


def gaps(groups, model):
    """Between the log-probabilities of the trained model and of the rollout: one array a row."""
    import torch
    from verl.utils.torch_functional import logprobs_from_logits

    for row in flat(groups):
        ids = torch.cat([row["prompts"], row["responses"]])
        with torch.no_grad():
            logits = model.model(ids[None]).logits[0]
        found = logprobs_from_logits(logits[:-1], ids[1:])[-len(row["responses"]) :]
        yield (found - row["rollout_log_probs"]).abs()


def test_log_probabilities_of_trainer_and_trajectory_agree(sampled, model):
    rows = flat(sampled)
    assert len(rows) == 20
    for row, gap in zip(rows, gaps(sampled, model), strict=True):
        mask = row["response_mask"].bool()
        assert mask.any() and mask[-1]  # verl puts the reward onto the last token
        assert gap[mask].max() < 1e-4
    assert not all(row["response_mask"].all() for row in rows)  # documents stand between turns


@pytest.mark.parametrize("change", ["inverted", "shifted"])
def test_log_probabilities_disagree_under_another_mask(sampled, model, change):
    """So the test above sees a mask of other polarity, and one that is off by one."""
    largest = 0.0
    for row, gap in zip(flat(sampled), gaps(sampled, model), strict=True):
        mask = row["response_mask"].bool()
        wrong = ~mask if change == "inverted" else mask.roll(1)
        largest = max([largest, *gap[wrong].tolist()])
    assert largest > 0.01


def test_members_of_a_group_draw_other_tokens(sampled):
    for group in sampled:
        assert len({tuple(row["responses"].tolist()) for row in group}) > 1


def test_reward_and_weights_of_an_episode_reach_the_trainer(sampled):
    for row in flat(sampled):
        figures = row["extra_fields"]["reward_extra_info"]
        assert row["rm_scores"][:-1].sum() == 0
        assert float(row["rm_scores"][-1]) == pytest.approx(figures["f1"], abs=1e-6)
        assert row["num_turns"] == figures["turns"]
        assert row["extra_fields"]["min_global_steps"] == 3  # what the server told


def sample(config, uids, step):
    """A batch as the trainer takes it, with what it logs."""
    return make_batches(config, poll_interval=0.01).sample(step, "train", len(uids))


@pytest.mark.usefixtures("ray_cluster")
def test_failed_searches_are_in_no_batch_and_in_no_figure(tmp_path):
    engine = "zs_env.testing:FailingEngine,share=0.4"
    path = prepare_run(tmp_path, engine=engine, noise="linear", noise_end=1.0)
    config = load_config(path)
    ids = question_ids(path, 8)
    task = _task(path)
    policy = ScriptedPolicy(task.source, ids, task.encoder)
    uids = play_in_queue(config, scripted(policy), ids, step=6)
    batch, log = sample(config, uids, 6)
    rows = fetch(batch.keys, "train")
    assert 0 < len(batch.keys) < 40 and len(rows) == len(batch.keys)
    assert log["search/failed_searches"] == 40 - len(batch.keys)
    assert log["search/noise_probability"] == pytest.approx(0.5)
    rewards = [float(row["rm_scores"].sum()) for row in rows]
    assert log["search/f1"] == log["search/reward"] == pytest.approx(np.mean(rewards), abs=1e-6)
    figures = [row["extra_fields"]["reward_extra_info"] for row in rows]
    assert not any(each["search_failed"] for each in figures)
    for name in ("turns", "searches", "exact_match"):
        assert log[f"search/{name}"] == pytest.approx(np.mean([each[name] for each in figures]))
    assert {"search/noisy_share", "search/invalid_share"} <= log.keys()


@pytest.mark.usefixtures("ray_cluster")
def test_validation_of_verl_logs_the_figures_of_held_out_episodes(tmp_path):
    from verl.trainer.ppo.metric_utils import process_validation_metrics

    path = prepare_run(tmp_path, noise_start=1.0, noise_end=1.0)
    ids = question_ids(path, 6, "test")
    task = _task(path)
    policy = ScriptedPolicy(task.held_out, ids, task.encoder)
    config = load_config(path, **{"actor_rollout_ref.rollout.val_kwargs.n": 1})
    uids = play_in_queue(config, scripted(policy), ids, step=9, held_out=True)
    rows = fetch([f"{uid}_0_0" for uid in uids], "val")
    infos = [row["extra_fields"]["reward_extra_info"] for row in rows]
    columns = {name: [info[name] for info in infos] for name in infos[0]}
    log = process_validation_metrics([row["data_source"] for row in rows], uids, columns)["search"]
    assert log["f1"]["mean@1"] == pytest.approx(np.mean(columns["f1"]))
    assert log["searches"]["mean@1"] > 0
    assert log["noise_probability"]["mean@1"] == log["noisy"]["mean@1"] == 0.0


def _arguments(path):
    from omegaconf import OmegaConf

    [entry] = OmegaConf.load(path.parent / "agent_loop.yaml")
    return OmegaConf.to_container(entry.arguments)


def _task(path):
    from zs_env.adapters.verl.episodes import task_of
    from zs_env.tokens.tokenizers import read_tokenizer

    return task_of(_arguments(path), read_tokenizer(MODEL), 704, 320)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"trainer.total_training_steps": 12}, 12),
        ({"trainer.total_training_steps": "null"}, None),
        (
            {
                "trainer.total_training_steps": "null",
                "actor_rollout_ref.actor.optim.total_training_steps": 40,
                "trainer.v1.trainer_mode": "separate_async",
            },
            10,  # four updates of the optimizer a step
        ),
    ],
)
def test_number_of_steps_is_that_of_the_trainer(tmp_path, options, steps):
    from zs_env.adapters.verl.config import total_steps

    assert total_steps(load_config(prepare_run(tmp_path), **options)) == steps


ROLLOUT = "actor_rollout_ref.rollout"
BAD_CONFIGS = [
    ({f"{ROLLOUT}.agent.agent_loop_config_path": "null"}, "must name the agent_loop.yaml"),
    ({f"{ROLLOUT}.calculate_log_probs": False}, "`.*calculate_log_probs` must be True"),
    ({f"{ROLLOUT}.name": "sglang"}, "must be vllm, got sglang"),
    ({"trainer.use_v1": False}, "`trainer.use_v1` must be True"),
]


@pytest.mark.parametrize(("options", "message"), BAD_CONFIGS)
def test_option_of_verl_that_does_not_fit_is_refused(tmp_path, options, message):
    from zs_env.adapters.verl.manager import check_run

    with pytest.raises(ValueError, match=message):
        check_run(load_config(prepare_run(tmp_path), **options))


def test_agent_loop_of_another_kind_is_refused(tmp_path):
    from zs_env.adapters.verl.config import check_config

    path = prepare_run(tmp_path)
    (tmp_path / "agent_loop.yaml").write_text("- {name: other, _target_: module.Other}\n")
    with pytest.raises(ValueError, match=r"expected an entry with .*SearchAgentLoop.*module.Other"):
        check_config(load_config(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.pop("extra_info"), "no column `extra_info`"),
        (lambda row: row["extra_info"].pop("question_id"), "got None: make it with the data set"),
        (lambda row: row["extra_info"].update(question_id="x"), "got 'x': make it with the data"),
        (lambda row: row["extra_info"].update(held_out=True), "without `held_out: false`"),
        (lambda row: row["extra_info"].pop("held_out"), "without `held_out: false`"),
    ],
)
def test_row_without_a_question_is_refused_before_the_first_step(tmp_path, change, message):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from zs_env.adapters.verl.manager import check_run

    path = prepare_run(tmp_path)
    rows = pq.read_table(tmp_path / "train.parquet").to_pylist()
    for row in rows:
        change(row)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=message):
        check_run(load_config(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_prompt_length": 60}, "`data.max_prompt_length` is 60: a question is never cut"),
        ({"max_response_length": 30}, "a response may have 30 tokens"),
        ({"engine": FailingEngine()}, "`engine` must be something that a file can hold"),
        ({"questions": "world,colour=red"}, "colour"),
        ({"topk": 3}, "unknown argument `topk`"),
    ],
)
def test_argument_that_does_not_fit_is_refused_before_anything_is_written(
    tmp_path, options, message
):
    with pytest.raises((ValueError, TypeError), match=message):
        prepare_run(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_tokenizer_without_end_of_text_is_refused(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    from zs_env.adapters.verl import prepare

    folder = tmp_path / "model"
    bare = Tokenizer(WordLevel({"a": 0, "[unknown]": 1}, unk_token="[unknown]"))
    PreTrainedTokenizerFast(tokenizer_object=bare).save_pretrained(folder)
    with pytest.raises(TokenizerError, match="no end-of-text"):
        prepare(tmp_path / "run", str(folder), questions="world,sample=20")


def test_engine_that_cannot_be_reached_is_refused(tmp_path):
    with pytest.raises(ServiceError):
        prepare_run(tmp_path, engine="retrieval,url=http://127.0.0.1:9")


def test_engine_that_a_worker_cannot_reach_is_refused_with_its_machine(
    ray_cluster, server, tmp_path
):
    from zs_env.adapters.verl.manager import check_machines
    from zs_env.tokens.tokenizers import read_tokenizer

    engine = {"name": "simulated", "model": CHAT_MODEL, "base_url": server.url}
    path = prepare_run(tmp_path, engine=engine)
    arguments, lengths = _arguments(path), (704, 320)
    check_machines(arguments, read_tokenizer(MODEL), *lengths)
    arguments["engine"]["base_url"] = "http://127.0.0.1:9/v1"
    with pytest.raises(ZeroSearchError, match=r"workers on \S+ \(node \w+\) cannot .*ServiceError"):
        check_machines(arguments, read_tokenizer(MODEL), *lengths)


def test_another_version_of_verl_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(versions, "version", lambda _: "0.8.0")
    with pytest.raises(DependencyVersionError, match="was tested with verl 0.9.1, got 0.8.0"):
        prepare_run(tmp_path)


def test_code_of_the_documentation_runs(ray_cluster, tmp_path, monkeypatch):
    """Its files are what the checks before the first step expect."""
    from zs_env.adapters.verl.manager import check_run

    text = (ROOT / "docs" / "verl.md").read_text()
    code, *_ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code.replace("Qwen/Qwen2.5-0.5B-Instruct", str(MODEL)), {})
    [path] = tmp_path.glob("runs/*/zero_search.yaml")
    command = re.search(
        r"python -m verl.trainer.main_ppo --config-dir (\S+) --config-name (\S+)", text
    )
    assert (tmp_path / command[1] / f"{command[2]}.yaml") == path
    overrides = re.findall(r"^ +(\w+\.[\w.]+)=(\S+?)(?: \\)?$", text, re.MULTILINE)
    assert overrides
    config = load_config(path, **dict(overrides))
    assert config.algorithm.adv_estimator == "grpo"
    check_run(config)
