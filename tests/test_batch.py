"""Batches: what each of their three types holds, and how they are cut."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from agents.training.batch import Batch, PlayedBatch, TrainingBatch

T, F = True, False


@pytest.fixture
def played():
    """Three episodes of 5, 2 and 3 tokens."""
    mask = torch.tensor([[F, T, T, F, T], [F, T, F, F, F], [F, F, T, F, F]])
    return PlayedBatch(
        token_ids=torch.tensor([[3, 4, 5, 6, 7], [3, 4, 0, 0, 0], [3, 4, 5, 0, 0]]),
        response_mask=mask,
        loss_mask=mask,
        sampled_log_probs=torch.full((3, 5), -1.0),
        rewards=torch.tensor([1.0, 0.0, 0.5]),
        groups=torch.tensor([0, 0, 1]),
        lengths=torch.tensor([5, 2, 3]),
    )


def test_batch_grows_by_scores_and_targets(played):
    old, values = torch.full((3, 5), -2.0), torch.full((3, 5), 0.25)
    batch = played.with_scores(old, values)
    assert type(batch) is Batch and batch.reference_log_probs is None
    assert batch.old_log_probs is old and batch.values is values
    assert batch.token_ids is played.token_ids and len(batch) == 3
    advantages, returns = torch.ones(3, 5), torch.zeros(3, 5)
    targets = batch.with_targets(advantages, returns)
    assert type(targets) is TrainingBatch
    assert targets.advantages is advantages and targets.returns is returns
    assert targets.old_log_probs is old and targets.rewards is played.rewards


def test_targets_returns_are_advantages_plus_values_by_default(played):
    batch = played.with_scores(torch.zeros(3, 5), torch.full((3, 5), 0.25))
    assert (batch.with_targets(torch.full((3, 5), 0.5)).returns == 0.75).all()


def test_targets_can_be_replaced(played):
    first = played.with_scores(torch.zeros(3, 5), torch.zeros(3, 5)).with_targets(torch.ones(3, 5))
    assert (first.with_targets(torch.full((3, 5), 2.0)).advantages == 2.0).all()


@pytest.mark.parametrize("index", [torch.tensor([2, 1]), torch.tensor([F, T, T])])
def test_select_keeps_the_type_and_cuts_to_the_longest(played, index):
    reference = torch.rand(3, 5)
    batch = played.with_scores(torch.zeros(3, 5), torch.zeros(3, 5), reference)
    part = batch.with_targets(torch.rand(3, 5)).select(index)
    assert type(part) is TrainingBatch
    assert part.token_ids.shape == part.returns.shape == (2, 3)
    assert sorted(part.rewards.tolist()) == [0.0, 0.5]
    assert torch.equal(part.reference_log_probs, reference[index, :3])


def test_select_of_none_is_an_empty_batch(played):
    part = played.with_scores(torch.zeros(3, 5), torch.zeros(3, 5)).select(torch.zeros(3).bool())
    assert len(part) == 0 and part.token_ids.shape == (0, 1)


def test_padding_has_the_same_columns_and_nothing_in_the_loss(played):
    batch = played.with_scores(torch.zeros(3, 5), torch.zeros(3, 5)).padding()
    assert type(batch) is Batch and batch.reference_log_probs is None
    assert batch.token_ids.shape == (1, 2) and batch.lengths.tolist() == [2]
    assert not batch.loss_mask.any()
