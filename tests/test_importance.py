"""Importance weights against values worked out by hand, and where they enter."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch

from agents.objectives.importance import truncated_weights
from agents.objectives.losses import clipped_policy_loss, policy_gradient_loss
from agents.training.batch import make_batch
from agents.training.config import Config
from agents.training.run import Run
from tests.algorithms import ALGORITHMS

SMALL = {
    "updates": 1,
    "questions_per_update": 4,
    "test_engines": (),
    "minibatches": 2,
    "max_turns": 2,
    "max_turn_tokens": 40,
    "max_context": 400,
}


def test_weights_equal_values_by_hand():
    learner = torch.tensor([[0.5, 0.2, 0.9, 0.3]]).log()
    sampler = torch.tensor([[0.25, 0.4, 0.1, 0.3]]).log()
    mask = torch.tensor([[True, True, True, False]])
    weights = truncated_weights(learner, sampler, mask, 3.0)
    assert weights[0].tolist() == pytest.approx([2.0, 0.5, 3.0, 1.0])
    assert truncated_weights(learner, sampler, ~mask, 3.0)[0].tolist() == pytest.approx([1.0] * 4)


def test_weights_have_no_gradient_and_do_not_overflow():
    learner = torch.tensor([[0.0, 0.0]], requires_grad=True)
    sampler = torch.tensor([[-1000.0, -1000.0]])
    weights = truncated_weights(learner, sampler, torch.tensor([[True, False]]), 2.0)
    assert weights.tolist() == [[2.0, 1.0]] and not weights.requires_grad


def test_weight_of_the_advantage_is_the_weight_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    now, old, advantages = torch.randn(3, 4, 50, generator=generator)
    weights = torch.rand(4, 50, generator=generator) * 2.0
    mask = torch.ones(4, 50, dtype=torch.bool)
    for loss in (
        lambda a: policy_gradient_loss(now, a, mask),
        lambda a: clipped_policy_loss(now, old, a, mask)[0],
    ):
        torch.testing.assert_close(loss(weights * advantages), weights * loss(advantages))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_each_algorithm_learns_from_weighted_advantages(name, tmp_path, monkeypatch):
    """Of tokens that the sampler drew half as often as the learner would, and twice as often."""
    shift = math.log(2.0)

    def changed(*args, **options):
        batch = make_batch(*args, **options)
        signs = torch.where(torch.arange(batch.token_ids.shape[1]) % 2 == 0, -shift, shift)
        sampled = (batch.sampled_log_probs + signs).where(batch.response_mask, 0.0)
        return replace(batch, sampled_log_probs=sampled)

    monkeypatch.setattr("agents.training.collect.make_batch", changed)
    train, config = ALGORITHMS[name]
    learned = {}
    for cap in (0.0, 1.5):

        def learn(self, batch, loss_function, update, cap=cap):
            learned[cap] = batch
            return {}

        monkeypatch.setattr("agents.training.learner.Learner.learn", learn)
        folder = tmp_path / f"{cap}"
        options = {**SMALL, "old_log_probs": "learner", "importance_cap": cap}
        train(config(folder=folder, **options))
    plain, weighted = learned[0.0], learned[1.5]
    places = torch.arange(plain.token_ids.shape[1]) % 2 == 0
    expected = torch.where(places, 1.5, 0.5).expand_as(plain.advantages)
    mask = plain.response_mask
    assert plain.advantages[mask].abs().max() > 0.0
    torch.testing.assert_close(
        weighted.advantages[mask], (plain.advantages * expected)[mask], rtol=1e-4, atol=1e-6
    )
    assert torch.equal(weighted.returns, plain.returns)


def test_weights_are_metrics(tmp_path):
    with Run(Config(folder=tmp_path / "run", importance_cap=2.0, **SMALL)) as run:
        for update in run.updates():
            batch = run.play(update)
            advantages = torch.zeros_like(batch.old_log_probs)
            run.learn(batch.with_targets(advantages), lambda now, batch: (now.log_probs, {}))
            assert run.metrics["importance_mean"] == pytest.approx(1.0, abs=1e-4)
            assert run.metrics["importance_capped"] == 0.0


def test_weights_need_the_learners_log_probs(tmp_path):
    with pytest.raises(ValueError, match="`importance_cap` needs `old_log_probs` 'learner'"):
        Config(importance_cap=2.0, old_log_probs="sampler")
    with pytest.raises(ValueError, match="`importance_cap` must not be negative"):
        Config(importance_cap=-1.0)
