"""Gradient steps: the same in one part or many, in one process or two."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch
import torch.multiprocessing

from agents.sampling.policy import load_policy
from agents.tiny.tokenizer import make_tokenizer
from agents.training import learner
from agents.training.config import Config
from agents.training.distributed import Processes
from agents.training.errors import TrainingError
from agents.training.learner import Learner
from tests.batches import training_batch
from tests.helpers import free_port, tiny_model

LENGTHS = (5, 17, 9, 30, 12, 9)
SHARES = {
    "halves": ([0, 2, 4], [1, 3, 5]),
    "one episode and five": ([3], [0, 1, 2, 4, 5]),
    "no episode and all": ([], [0, 1, 2, 3, 4, 5]),
    "no token and all": ([6], [0, 1, 2, 3, 4, 5]),
}
"""Episodes of the batch that each of two processes has; number 6 has no token to train."""

LIMIT_S = 300.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"), make_tokenizer(), initializer_range=0.2)


@pytest.fixture
def batch():
    return make_batch()


def make_batch():
    """Episodes of ragged lengths and random masks; the last has nothing to train."""
    draw = torch.Generator().manual_seed(0)
    lengths = torch.tensor([*LENGTHS, 11])
    shape = (len(lengths), max(LENGTHS))
    inside = torch.arange(shape[1]) < lengths[:, None]
    mask = (torch.rand(shape, generator=draw) < 0.5) & inside
    mask[:, :2] = mask[-1] = False
    advantages, returns = (torch.randn(shape, generator=draw) for _ in range(2))
    advantages[-1] = float("nan")
    return training_batch(
        torch.randint(3, 1000, shape, generator=draw) * inside,
        mask,
        lengths=lengths,
        advantages=advantages,
        returns=returns,
    )


def make_learner(folder, processes=None, **options):
    """A policy whose value head is not at 0, trained by plain steps of the gradient."""
    policy = load_policy(folder, with_values=True)
    draw = torch.Generator().manual_seed(1)
    for weight in policy.value_head.parameters():
        torch.nn.init.normal_(weight, std=0.3, generator=draw)
    settings = {"minibatches": 1, "max_grad_norm": 1e9, "device": "cpu", "precision": "float32"}
    config = Config(**{**settings, **options})
    learner = Learner(policy, config, processes or Processes("cpu"))
    learner.optimizer = torch.optim.SGD(policy.parameters(), lr=0.5)
    return learner


def loss_function(now, batch):
    loss = -batch.advantages * now.log_probs - 0.01 * now.entropy
    loss = loss + (now.values - batch.returns).square()
    return loss, {"entropy": now.entropy, "value": now.values}


def masked_mean(values, mask):
    return values.where(mask, 0.0).sum() / mask.sum()


def gradients(learner):
    return {name: weight.grad for name, weight in learner.policy.named_parameters()}


def weights(learner):
    return {name: weight.detach().clone() for name, weight in learner.policy.named_parameters()}


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=1e-4, atol=1e-5), name


def test_learn_gradient_equals_that_of_the_mean_over_all_tokens(folder, batch):
    batch = batch.select(torch.arange(6))
    learner, plain = make_learner(folder), make_learner(folder)
    figures = learner.learn(batch, loss_function, update=0)
    loss, columns = loss_function(plain.policy(batch.token_ids, batch.loss_mask), batch)
    masked_mean(loss, batch.loss_mask).backward()
    assert_close(gradients(learner), gradients(plain))
    squares = sum(gradient.square().sum() for gradient in gradients(plain).values())
    expected = {
        "loss": masked_mean(loss, batch.loss_mask),
        "gradient_norm": squares.sqrt(),
        **{name: masked_mean(column, batch.loss_mask) for name, column in columns.items()},
    }
    assert figures == pytest.approx({n: v.item() for n, v in expected.items()}, rel=1e-4)


def test_learning_rates_fall_linearly(folder, batch):
    policy = load_policy(folder, with_values=True)
    config = Config(
        updates=10,
        learning_rate=0.5,
        critic_learning_rate=0.2,
        learning_rate_decay=0.9,
        device="cpu",
        precision="float32",
        minibatches=1,
    )
    learner = Learner(policy, config, Processes("cpu"))
    for update, share in ((0, 1.0), (5, 0.55), (9, 0.19), (5, 0.55)):
        learner.learn(batch, loss_function, update)
        rates = [group["lr"] for group in learner.optimizer.param_groups]
        assert rates == pytest.approx([0.5 * share, 0.2 * share])


@pytest.mark.parametrize("micro_batch_tokens", [1, 40])
def test_learn_small_parts_give_the_gradient_of_the_whole(folder, batch, micro_batch_tokens):
    whole = make_learner(folder, micro_batch_tokens=10**9)
    parts = make_learner(folder, micro_batch_tokens=micro_batch_tokens)
    assert len(list(batch.micro_batches(micro_batch_tokens))) > 2
    assert len(list(batch.micro_batches(10**9))) == 1
    expected = whole.learn(batch, loss_function, update=0)
    assert parts.learn(batch, loss_function, update=0) == pytest.approx(expected, rel=1e-4)
    assert_close(gradients(parts), gradients(whole))
    assert_close(weights(parts), weights(whole))


def test_learn_masked_episode_contributes_nothing(folder, batch):
    with_episode, without = make_learner(folder), make_learner(folder)
    figures = with_episode.learn(batch, loss_function, update=0)
    expected = without.learn(batch.select(torch.arange(6)), loss_function, update=0)
    assert figures == pytest.approx(expected, rel=1e-4)
    assert_close(gradients(with_episode), gradients(without))


def test_learn_without_a_token_to_train_changes_nothing(folder, batch):
    learner = make_learner(folder)
    before = weights(learner)
    assert learner.learn(batch.select(torch.tensor([6])), loss_function, update=0) == {}
    assert_equal(weights(learner), before)


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_learn_goes_over_every_episode_once_an_epoch(folder, batch):
    learner = make_learner(folder, epochs=3, minibatches=2, micro_batch_tokens=1)
    seen = []

    def note_groups(now, part):
        seen.extend(part.groups.tolist())
        return loss_function(now, part)

    learner.learn(batch, note_groups, update=0)
    epochs = [seen[first : first + 7] for first in (0, 7, 14)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 3
    halves = {frozenset(epoch[:4]) for epoch in epochs}
    assert len(halves) > 1  # each epoch is divided anew


def test_learn_every_step_begins_without_a_gradient(folder, batch):
    once, often = make_learner(folder), make_learner(folder, epochs=3)
    often.optimizer = torch.optim.SGD(often.policy.parameters(), lr=0.0)
    expected = once.learn(batch, loss_function, update=0)
    assert often.learn(batch, loss_function, update=0) == pytest.approx(expected, rel=1e-4)
    assert_close(gradients(often), gradients(once))


def test_learn_clips_the_gradient_to_the_norm_given(folder, batch):
    learner, free = make_learner(folder, max_grad_norm=0.01), make_learner(folder)
    figures = learner.learn(batch, loss_function, update=0)
    assert figures == pytest.approx(free.learn(batch, loss_function, update=0))
    assert figures["gradient_norm"] > 0.1
    scale = 0.01 / figures["gradient_norm"]
    for name, gradient in gradients(free).items():
        assert torch.allclose(gradients(learner)[name], scale * gradient, rtol=1e-3), name


def infinite_loss(now, batch):
    return now.log_probs / 0.0, {}


def nan_loss(now, batch):
    return now.log_probs * float("nan"), {}


def nan_gradient(now, batch):
    return (0.0 * now.log_probs).abs().sqrt(), {}  # the root's slope at 0 is infinite


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (infinite_loss, "the loss became -inf"),
        (nan_loss, "the loss became nan"),
        (nan_gradient, "the gradient norm became nan"),
    ],
)
def test_learn_loss_that_is_no_number_raises_and_leaves_the_weights(folder, batch, broken, message):
    learner = make_learner(folder, minibatches=1)
    learner.optimizer = torch.optim.AdamW(learner.policy.parameters(), lr=0.1)
    learner.learn(batch, loss_function, update=0)
    before = weights(learner)
    moments = {n: s["exp_avg"].clone() for n, s in moments_of(learner).items()}
    with pytest.raises(TrainingError, match=message):
        learner.learn(batch, broken, update=1)
    assert_equal(weights(learner), before)
    assert_equal({n: s["exp_avg"] for n, s in moments_of(learner).items()}, moments)


def moments_of(learner):
    return learner.optimizer.state_dict()["state"]


def test_score_in_parts_equals_the_policy_on_the_whole(folder, batch):
    learner = make_learner(folder, micro_batch_tokens=40)
    scored = learner.score(batch)
    expected = learner.policy(batch.token_ids, batch.loss_mask)
    for column, whole in zip(scored, expected, strict=True):
        assert torch.allclose(column, whole, atol=1e-5)
        assert not column.requires_grad
        assert (column[~batch.loss_mask] == 0.0).all()
        assert (column[batch.loss_mask] != 0.0).all()


def train_in_one_of_two(rank, port, folder, output):
    """What a process of torchrun does: its share of each of `SHARES`; writes down weights."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    processes = Processes("cpu")
    for name, shares in SHARES.items():
        found = train_on_share(folder, processes, shares[rank])
        torch.save(found, output / f"{name}-{rank}.pt")
    processes.close()


def train_on_share(folder, processes, index):
    """One step. The learner must be gone before the processes part, or they may hang."""
    learner = make_learner(folder, processes, micro_batch_tokens=40)
    part = make_batch().select(torch.tensor(index, dtype=torch.int64))
    figures = learner.learn(part, loss_function, update=0)
    return {"figures": figures, "gradients": gradients(learner), "weights": weights(learner)}


@pytest.fixture(scope="module")
def two_processes(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("output")
    context = torch.multiprocessing.spawn(
        train_in_one_of_two, (free_port(), folder, output), nprocs=2, join=False
    )
    try:
        # One call to join waits for the end of one process, or raises what it raised.
        if not any(context.join(LIMIT_S) for _ in range(2)):
            pytest.fail(f"the processes still wait for each other after {LIMIT_S:.0f} s")
    finally:
        for process in context.processes:
            process.kill()
    return output


@pytest.mark.parametrize("name", SHARES)
def test_learn_two_processes_take_the_step_of_one_with_all_episodes(folder, two_processes, name):
    first, second = (torch.load(two_processes / f"{name}-{rank}.pt") for rank in range(2))
    one = make_learner(folder)
    index = torch.tensor(sorted(sum(SHARES[name], [])))
    expected = one.learn(make_batch().select(index), loss_function, update=0)
    for found in (first, second):
        assert found["figures"] == pytest.approx(expected, rel=1e-4)
        assert_close(found["gradients"], gradients(one))
        assert_close(found["weights"], weights(one))
    assert_equal(first["weights"], second["weights"])


def test_learn_step_moves_the_weights(folder, batch):
    learner = make_learner(folder)
    before = weights(learner)
    learner.learn(replace(batch, returns=batch.returns + 1.0), loss_function, update=0)
    moved = {name: (after - before[name]).abs().max() for name, after in weights(learner).items()}
    assert min(moved.values()) > 1e-4, moved


def test_learning_rate_of_small_models_is_warned_of_for_large_ones(folder, monkeypatch):
    policy, processes = load_policy(folder), Processes("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Learner(policy, Config(), processes)
    monkeypatch.setattr(learner, "LARGE_MODEL", 1)
    with pytest.warns(UserWarning, match=r"a `learning_rate` of 0.001 is high for \d"):
        Learner(policy, Config(), processes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Learner(policy, Config(learning_rate=1e-6), processes)
