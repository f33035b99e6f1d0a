"""Checkpoints: everything comes back as it was, and what is not whole is never one."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch

from agents.sampling.policy import Policy, add_adapters, load_model, load_policy
from agents.tiny import MODEL
from agents.tiny.tokenizer import make_tokenizer
from agents.training.checkpoint import (
    last_checkpoint,
    load_critic,
    load_optimizer,
    load_state,
    questions_tested_on,
    reading,
    save_checkpoint,
)
from agents.training.config import Config
from agents.training.distributed import Processes
from agents.training.errors import CheckpointError
from agents.training.learner import Learner
from tests.batches import training_batch
from tests.full_disk import largest_file
from tests.helpers import tiny_model
from zs_env.tokens.tokenizers import read_tokenizer

CONFIG = Config(device="cpu", precision="float32", minibatches=2, weight_decay=0.01)
STATE = {
    "memory": {"baseline": 0.25},
    "random_state": [1, 2, 3],
    "processes": 1,
    "config": CONFIG.to_json(),
}


@pytest.mark.parametrize(
    ("questions", "options", "wanted"),
    [
        ("world", {}, "world"),
        ("world", {"world_seed": 5}, "world,world_seed=5"),
        (
            "world,kinds=history",
            {"world_size": "hard"},
            "world,kinds=history,world_size=hard",
        ),
        ("world,world_size=tiny", {"world_size": "hard"}, "world,world_size=tiny"),
        ('{"name": "world", "sample": 9}', {"world_seed": 5}, "world,sample=9,world_seed=5"),
        ("nq,sample=9", {"world_size": "hard"}, "nq,sample=9"),
    ],
)
def test_questions_tested_on_name_their_world(questions, options, wanted):
    """Options made the world be forgotten: `kinds=history` was of the small one."""
    config = {"test_questions": questions, "world_seed": 0, "world_size": "small", **options}
    assert questions_tested_on(config) == wanted


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"), make_tokenizer(), num_hidden_layers=1)


@pytest.fixture
def learner(model_folder):
    """A policy with a value head, a few steps after the beginning of its training."""
    learner = Learner(load_policy(model_folder, with_values=True), CONFIG, Processes("cpu"))
    train(learner, update=0)
    return learner


def train(learner, update):
    """Gradient steps on tokens that follow from ``update``."""
    draw = torch.Generator().manual_seed(update)
    shape = (4, 12)
    mask = torch.rand(shape, generator=draw) < 0.6
    batch = training_batch(
        torch.randint(3, 1000, shape, generator=draw),
        mask,
        returns=torch.randn(shape, generator=draw),
    )

    def loss_function(now, part):
        return (now.values - part.returns).square() - part.returns * now.log_probs, {}

    learner.learn(batch, loss_function, update)


def save(folder, learner, update, keep=10):
    state = {**STATE, "update": update}
    return save_checkpoint(folder, learner.policy, learner.optimizer, state, keep)


def load(checkpoint, policy=None, config=CONFIG):
    """A learner as it was at ``checkpoint``."""
    policy = policy or load_policy(checkpoint, with_values=True)
    learner = Learner(policy, config, Processes("cpu"))
    load_critic(checkpoint, learner.policy)
    load_optimizer(checkpoint, learner.optimizer, load_state(checkpoint)["optimizer"])
    return learner


def assert_same_training(found, expected):
    """Weights, moments, step counts and settings are the same to the last bit."""
    weights, wanted = found.policy.state_dict(), expected.policy.state_dict()
    assert weights.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(weights[name], tensor), name
    now, then = found.optimizer.state_dict(), expected.optimizer.state_dict()
    # As JSON, which has one kind of sequence.
    assert json.dumps(now["param_groups"]) == json.dumps(then["param_groups"])
    assert now["state"].keys() == then["state"].keys()
    for number, moments in then["state"].items():
        assert moments.keys() == now["state"][number].keys()
        for name, tensor in moments.items():
            assert torch.equal(now["state"][number][name], tensor), (number, name)
            assert tensor.any(), (number, name)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_checkpoint_restores_weights_value_head_and_moments_exactly(learner, tmp_path):
    checkpoint = save(tmp_path, learner, update=1)
    assert checkpoint == last_checkpoint(tmp_path) == tmp_path / "000001"
    assert_same_training(load(checkpoint), learner)


def test_checkpoint_next_step_is_identical_to_the_last_bit(learner, tmp_path):
    restored = load(save(tmp_path, learner, update=1))
    for update in (1, 2):
        train(learner, update)
        train(restored, update)
    assert_same_training(restored, learner)


def test_checkpoint_restores_the_settings_of_the_optimizer(learner, tmp_path):
    checkpoint = save(tmp_path, learner, update=1)
    other = replace(CONFIG, learning_rate=0.5, critic_learning_rate=0.25, weight_decay=0.0)
    assert_same_training(load(checkpoint, config=other), learner)


def test_checkpoint_before_the_first_step_restores_an_optimizer_without_moments(
    model_folder, tmp_path
):
    fresh = Learner(load_policy(model_folder, with_values=True), CONFIG, Processes("cpu"))
    restored = load(save(tmp_path, fresh, update=0))
    train(fresh, update=0)
    train(restored, update=0)
    assert_same_training(restored, fresh)


def test_checkpoint_without_a_value_head_restores_the_policy(model_folder, tmp_path):
    learner = Learner(load_policy(model_folder), CONFIG, Processes("cpu"))
    train(learner, update=0)
    checkpoint = save(tmp_path, learner, update=1)
    assert "critic.safetensors" not in names_in(checkpoint)
    assert_same_training(load(checkpoint, load_policy(checkpoint)), learner)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_checkpoint_of_adapters_next_step_is_identical(model_folder, tmp_path):
    adapted = add_adapters(load_model(model_folder), 2)
    policy = Policy(adapted, read_tokenizer(model_folder), with_values=True)
    learner = Learner(policy, CONFIG, Processes("cpu"))
    train(learner, update=0)
    restored = load(save(tmp_path, learner, update=1))
    for update in (1, 2):
        train(learner, update)
        train(restored, update)
    ids = torch.arange(3, 15)[None]
    mask = torch.ones(ids.shape, dtype=torch.bool)
    for found, expected in zip(restored.policy(ids, mask), policy(ids, mask), strict=True):
        assert torch.equal(found, expected)


def test_checkpoint_restores_tokenizer_and_state(learner, tmp_path):
    checkpoint = save(tmp_path, learner, update=12)
    assert checkpoint.name == "000012"
    state = load_state(checkpoint)
    assert {name: state[name] for name in (*STATE, "update")} == {**STATE, "update": 12}
    text = "<search> birthplace of ada blake </search>"
    tokenizer = read_tokenizer(checkpoint)
    assert tokenizer.encode(text) == learner.policy.tokenizer.encode(text)
    assert tokenizer.eos_token_id == learner.policy.tokenizer.eos_token_id


def test_checkpoint_keep_removes_the_older(learner, tmp_path):
    for update in (2, 9, 10, 11):
        save(tmp_path, learner, update, keep=2)
    assert names_in(tmp_path) == ["000010", "000011"]


def test_checkpoint_of_the_same_update_takes_the_place_of_the_first(learner, tmp_path):
    save(tmp_path, learner, update=1)
    train(learner, update=1)
    save(tmp_path, learner, update=1, keep=1)
    assert names_in(tmp_path) == ["000001"]
    assert_same_training(load(tmp_path / "000001"), learner)


def test_last_checkpoint_of_a_folder_without_any_is_none(tmp_path):
    assert last_checkpoint(tmp_path / "missing") is None
    (tmp_path / "000001").write_text("a file is no checkpoint")
    (tmp_path / "tensorboard").mkdir()
    assert last_checkpoint(tmp_path) is None


def test_load_state_of_a_plain_model_folder_raises(model_folder):
    with pytest.raises(CheckpointError, match="is no checkpoint of a run"):
        load_state(model_folder)


def test_checkpoint_cut_short_by_a_kill_is_never_taken_for_one(learner, tmp_path, monkeypatch):
    first = save(tmp_path, learner, update=1)
    at_first = load(first)

    def killed(descriptor):
        raise KeyboardInterrupt

    train(learner, update=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, learner, update=2, keep=1)
    left = names_in(tmp_path)
    assert len(left) == 2  # what a kill leaves behind is there, under another name
    assert last_checkpoint(tmp_path) == first
    assert_same_training(load(first), at_first)
    second = save(tmp_path, learner, update=2)
    assert names_in(tmp_path) == ["000001", "000002"]
    assert_same_training(load(second), learner)


@pytest.mark.parametrize("num_synced", [0, 3])
def test_checkpoint_on_a_full_disk_raises_and_keeps_the_one_before(
    learner, tmp_path, monkeypatch, num_synced
):
    first = save(tmp_path, learner, update=1)
    calls = []

    def no_space(descriptor):
        calls.append(descriptor)
        if len(calls) > num_synced:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(CheckpointError, match="No space left.*000001"):
        save(tmp_path, learner, update=2, keep=1)
    assert names_in(tmp_path) == ["000001"]
    assert_same_training(load(first), learner)


def test_checkpoint_first_on_a_full_disk_says_that_there_is_none(learner, tmp_path, monkeypatch):
    def no_space(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(CheckpointError, match="There is none before it"):
        save(tmp_path / "checkpoints", learner, update=1)
    assert names_in(tmp_path / "checkpoints") == []


@pytest.mark.parametrize("cut", ["model.safetensors", "optimizer.safetensors"])
def test_checkpoint_whose_writing_breaks_off_raises_and_leaves_nothing(learner, tmp_path, cut):
    first = save(tmp_path, learner, update=1)
    size = (first / cut).stat().st_size
    with largest_file(size - 1), pytest.raises(CheckpointError, match="File too large.*000001"):
        save(tmp_path, learner, update=2, keep=1)
    assert names_in(tmp_path) == ["000001"]
    assert_same_training(load(first), learner)


def test_last_checkpoint_is_the_one_of_the_largest_number(tmp_path):
    for name in ("000002", "999999", "1000000"):
        (tmp_path / name).mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "1000000"


COPIES = ["000001-good", "000006-backup", "7", "00007", "0000007", "٠٠٠٠٠٧"]


def test_checkpoint_copies_that_a_user_made_are_neither_taken_nor_removed(learner, tmp_path):
    """`000001-good` was once deleted at the next save, and `000006-backup` counted as the last."""
    for name in COPIES:
        (tmp_path / name).mkdir()
    assert last_checkpoint(tmp_path) is None
    for update in (1, 2, 3):
        save(tmp_path, learner, update, keep=1)
    assert last_checkpoint(tmp_path) == tmp_path / "000003"
    assert names_in(tmp_path) == sorted([*COPIES, "000003"])


def read_all(checkpoint):
    """What a resumed run reads."""
    with reading(checkpoint):
        load(checkpoint)


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors", "critic.safetensors", "optimizer.safetensors", "trainer.json",
        "config.json", "tokenizer.json",
    ],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["cut", "emptied", "removed"])
def test_checkpoint_that_is_damaged_names_the_file_and_an_intact_one(
    learner, tmp_path, name, damage
):
    """Each was once a traceback of safetensors, json or tokenizers."""
    for update in (1, 2, 3):
        save(tmp_path, learner, update)
    (tmp_path / "000002" / "optimizer.safetensors").unlink()
    file = tmp_path / "000003" / name
    content = file.read_bytes()
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(CheckpointError) as raised:
        read_all(tmp_path / "000003")
    message = str(raised.value)
    assert file.stem in message
    if (name, damage) != ("trainer.json", "removed"):
        assert f"checkpoint {tmp_path / '000003'} cannot be read: " in message
        assert f" {tmp_path / '000001'} is intact: remove the newer ones" in message
    read_all(tmp_path / "000001")


def test_checkpoint_that_is_damaged_and_alone_says_nothing_of_others(learner, tmp_path):
    checkpoint = save(tmp_path, learner, update=1)
    (checkpoint / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged: [^.]*\.?$"):
        read_all(checkpoint)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_checkpoint_of_adapters_names_the_bundled_model_and_not_its_path(tmp_path):
    policy = Policy(add_adapters(load_model("tiny"), 2), read_tokenizer(MODEL))
    learner = Learner(policy, CONFIG, Processes("cpu"))
    for update in (1, 2):
        checkpoint = save(tmp_path, learner, update)
        saved = json.loads((checkpoint / "adapter_config.json").read_text())
        assert saved["base_model_name_or_path"] == "tiny"
        learner = Learner(load_policy(checkpoint), CONFIG, Processes("cpu"))
