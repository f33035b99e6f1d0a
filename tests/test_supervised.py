"""Supervised learning: batches, the loss of tokens with labels, optimizers and their schedule."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from agents.supervised.batches import by_length, packed, padded
from agents.supervised.losses import NO_LABEL, shifted, summed_loss, token_losses
from agents.supervised.optimizers import make_optimizers, take_step, warmup_cosine


def test_batches_by_length_hold_what_fits_with_its_padding():
    # Padded to multiples of 4: 4, 4, 8, 8, 12.
    assert list(by_length([5, 3, 9, 4, 6], 16, 4)) == [[1, 3], [0, 4], [2]]
    assert list(by_length([50, 3], 16)) == [[1], [0]]


@given(st.lists(st.integers(1, 30), max_size=60), st.randoms())
def test_packed_rows_hold_each_example_once_and_no_row_is_too_long(lengths, random):
    order = list(range(len(lengths)))
    random.shuffle(order)
    rows = packed(lengths, order, 30)
    assert sorted(n for row in rows for n in row) == sorted(order)
    assert all(0 < sum(lengths[n] for n in row) <= 30 for row in rows)


def test_packed_fills_the_fullest_row_that_has_room():
    assert packed([6, 3, 3, 4, 1], range(5), 10) == [[0, 1, 4], [2, 3]]
    with pytest.raises(ValueError, match="rows of 10 tokens cannot hold an example of 11"):
        packed([11], [0], 10)


def test_labels_are_predicted_one_position_before_and_the_first_column_never():
    labels = torch.tensor([[7, NO_LABEL, 8], [9, 5, NO_LABEL]])
    chosen, targets = shifted(labels)
    assert chosen.tolist() == [[False, True, False], [True, False, False]]
    assert targets.tolist() == [8, 5]


def test_losses_of_tokens_by_hand():
    logits = torch.tensor([[0.0, math.log(2), 0.0], [0.0, 0.0, math.log(4)]])
    targets = torch.tensor([1, 2])
    expected = [math.log(2), math.log(1.5)]
    assert token_losses(logits, targets).tolist() == pytest.approx(expected)
    assert summed_loss(logits, targets).item() == pytest.approx(math.log(3))


def test_padded_fills_up_on_the_right():
    assert padded([[1, 2], []], 3, -1, torch.int64).tolist() == [[1, 2, -1], [-1, -1, -1]]


def test_rates_rise_linearly_and_fall_as_a_cosine():
    rates = [warmup_cosine(step, 100, 10, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.1 * 1.0) and rates[4] < rates[9] == max(rates)
    assert rates[50] == pytest.approx(0.55) and rates[100] == pytest.approx(0.1)
    assert warmup_cosine(0, 10, 0, 0.0) == 1.0


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(5, 3)
        self.inner = nn.Linear(3, 3)
        self.head = nn.Linear(3, 5, bias=False)

    def get_output_embeddings(self):
        return self.head


def test_muon_gets_the_matrices_that_are_no_embeddings():
    network = Network()
    muon, adamw = make_optimizers(network, "muon", 1e-3, 0.0, 1e-2)
    assert [p.shape for p in muon.param_groups[0]["params"]] == [(3, 3)]
    assert len(adamw.param_groups[0]["params"]) == 3
    [alone] = make_optimizers(network, "adamw", 1e-3, 0.0)
    assert len(alone.param_groups[0]["params"]) == 4


def test_step_clips_and_scales_rates_and_is_not_taken_if_the_gradient_is_no_number():
    parameter = nn.Parameter(torch.ones(2))
    sgd = torch.optim.SGD([parameter], lr=1.0)
    for _ in range(2):  # the factor is on the first rate, not on the last one
        parameter.grad = torch.tensor([3.0, 4.0])
        assert take_step([sgd], [parameter], 0.5, 1.0) == pytest.approx(5.0)
    assert parameter.tolist() == pytest.approx([1 - 0.6, 1 - 0.8])
    before = parameter.tolist()
    parameter.grad = torch.tensor([float("nan"), 1.0])
    assert math.isnan(take_step([sgd], [parameter], 1.0, 1.0)) and parameter.tolist() == before
