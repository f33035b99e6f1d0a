"""Losses against values worked out by hand, and what does not contribute to them."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from agents.objectives.losses import (
    clipped_policy_loss,
    clipped_value_loss,
    kl_k1,
    kl_k3,
    policy_gradient_loss,
)
from agents.sampling.policy import Policy
from tests.helpers import ByteTokenizer

P, Q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])
TRUE_KL = 0.3 * math.log(2.5)  # 0.5 log(5/2) + 0.2 log(2/5)

# Each as a function of what is trained, what it is compared with, what it was, and the mask.
LOSSES = {
    "policy gradient": lambda x, a, b, mask: policy_gradient_loss(x, a, mask),
    "clipped policy": lambda x, a, b, mask: clipped_policy_loss(x, b, a, mask)[0],
    "clipped value": lambda x, a, b, mask: clipped_value_loss(x, b, a, mask),
    "k1": lambda x, a, b, mask: kl_k1(x, a, mask),
    "k3": lambda x, a, b, mask: kl_k3(x, a, mask),
}


def everywhere(*values):
    """A row of float32, and a mask that is True everywhere."""
    row = torch.tensor([values])
    return row, torch.ones(row.shape, dtype=torch.bool)


def test_policy_gradient_loss_is_minus_advantage_times_log_prob():
    log_probs, mask = everywhere(-1.0, -2.0)
    loss = policy_gradient_loss(log_probs, torch.tensor([[3.0, -0.5]]), mask)
    assert loss.tolist() == [[3.0, -1.0]]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.0, 2.0, -2.0, False),
        (1.5, 1.0, -1.2, True),  # no more to gain from a token that is likelier already
        (0.5, 1.0, -0.5, False),  # a step in the wrong direction counts in full
        (1.5, -1.0, 1.5, False),
        (0.5, -1.0, 0.8, True),
        (1.1, 1.0, -1.1, False),
        (0.9, -1.0, 0.9, False),
    ],
)
def test_clipped_policy_loss_equals_values_by_hand(ratio, advantage, loss, clipped):
    log_probs, mask = everywhere(math.log(ratio) - 1.0)
    old, advantages = torch.full_like(log_probs, -1.0), torch.full_like(log_probs, advantage)
    found, where = clipped_policy_loss(log_probs, old, advantages, mask)
    assert found.item() == pytest.approx(loss)
    assert where.item() is clipped


def test_clipped_policy_loss_gradient_is_zero_only_where_clipped():
    log_probs = torch.tensor([[0.0, 1.0, -1.0, 1.0]], requires_grad=True)
    advantages = torch.tensor([[2.0, 1.0, -1.0, -1.0]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    loss, _ = clipped_policy_loss(log_probs, torch.zeros(1, 4), advantages, mask)
    loss.sum().backward()
    assert log_probs.grad[0].tolist() == pytest.approx([-2.0, 0.0, 0.0, math.e])


@pytest.mark.parametrize(
    ("value", "target", "loss"),
    [
        (0.1, 1.0, 0.5 * 0.9**2),  # within the clip
        (1.0, 2.0, 0.5 * 1.8**2),  # beyond it: as if at 0.2
        (-1.0, -2.0, 0.5 * 1.8**2),
        (1.0, 0.0, 0.5 * 1.0**2),  # a step away from the target counts in full
    ],
)
def test_clipped_value_loss_equals_values_by_hand(value, target, loss):
    values, mask = everywhere(value)
    found = clipped_value_loss(values, torch.zeros(1, 1), torch.full((1, 1), target), mask)
    assert found.item() == pytest.approx(loss)


def test_kl_estimators_equal_values_by_hand():
    log_probs, mask = everywhere(math.log(0.5), math.log(0.2))
    reference = torch.tensor([[math.log(0.2), math.log(0.5)]])
    k1, k3 = kl_k1(log_probs, reference, mask), kl_k3(log_probs, reference, mask)
    assert k1[0].tolist() == pytest.approx([math.log(2.5), -math.log(2.5)])
    expected = [0.4 - 1 + math.log(2.5), 2.5 - 1 - math.log(2.5)]
    assert k3[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("estimator", [kl_k1, kl_k3])
def test_kl_estimator_mean_over_samples_approaches_the_divergence(estimator):
    draws = torch.multinomial(P, 200_000, True, generator=torch.Generator().manual_seed(0))[None]
    mask = torch.ones(draws.shape, dtype=torch.bool)
    estimates = estimator(P.log()[draws], Q.log()[draws], mask)
    error = estimates.std() / draws.numel() ** 0.5
    assert error < 0.005
    assert estimates.mean().item() == pytest.approx(TRUE_KL, abs=4 * error.item())


@pytest.mark.parametrize("estimator", [kl_k1, kl_k3])
def test_kl_estimator_expectation_is_the_divergence(estimator):
    mask = torch.ones(3, dtype=torch.bool)
    assert (P * estimator(P.log(), Q.log(), mask)).sum().item() == pytest.approx(TRUE_KL)


def test_kl_k3_is_never_negative():
    small = torch.logspace(-9.0, -2.0, 1000)
    log_ratios = torch.cat([torch.linspace(-20.0, 20.0, 4001), small, -small])[None]
    mask = torch.ones(log_ratios.shape, dtype=torch.bool)
    k3 = kl_k3(log_ratios, torch.zeros_like(log_ratios), mask)
    assert (k3 >= 0.0).all()
    exact = (-log_ratios.double()).expm1() + log_ratios.double()
    assert (k3 - exact).abs().le(1e-6 * exact + 3e-7 * log_ratios.abs()).all()
    assert kl_k3(log_ratios, log_ratios, mask).abs().max() == 0.0


@pytest.mark.parametrize("off", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_off_the_mask_is_exactly_zero(name, off):
    mask = torch.tensor([[True, False, True]])
    draw = torch.Generator().manual_seed(0)
    columns = [torch.rand(1, 3, generator=draw) for _ in range(3)]
    clean = LOSSES[name](*columns, mask)
    dirty = LOSSES[name](*(column.where(mask, off) for column in columns), mask)
    assert torch.equal(clean, dirty)
    assert dirty[0, 1] == 0.0
    assert (dirty[mask] != 0.0).all()


def test_clipped_policy_loss_off_the_mask_is_never_clipped():
    log_probs = torch.tensor([[2.0, 2.0]])
    mask = torch.tensor([[True, False]])
    _, clipped = clipped_policy_loss(log_probs, torch.zeros(1, 2), torch.ones(1, 2), mask)
    assert clipped.tolist() == [[True, False]]


@pytest.mark.parametrize("name", LOSSES)
def test_loss_gradient_off_the_mask_is_exactly_zero(name):
    mask = torch.tensor([[True, False, True, False]])
    draw = torch.Generator().manual_seed(1)
    # So near to each other that nothing is clipped.
    trained, *given = (0.1 * torch.rand(1, 4, generator=draw) for _ in range(3))
    trained.requires_grad_()
    LOSSES[name](trained, *given, mask).sum().backward()
    assert (trained.grad[~mask] == 0.0).all()
    assert (trained.grad[mask] != 0.0).all()


@pytest.mark.parametrize("name", ["policy gradient", "clipped policy", "k1", "k3"])
def test_loss_gradient_is_finite_whatever_log_probs_stand_off_the_mask(name):
    mask = torch.tensor([[True, False, False]])
    trained = torch.tensor([[0.1, float("inf"), 200.0]], requires_grad=True)
    given = torch.full((1, 3), 0.2)
    LOSSES[name](trained, given, torch.zeros(1, 3), mask).sum().backward()
    assert trained.grad[0, 0].isfinite()
    assert trained.grad[0, 1:].tolist() == [0.0, 0.0]


# Two prompt tokens, a turn of three, two document tokens, a turn of two, three of no account.
IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1]])
MASK = torch.tensor([[False] * 2 + [True] * 3 + [False] * 2 + [True] * 2 + [False] * 3])


@pytest.fixture
def policy():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=12,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            initializer_range=0.5,
        )
        policy = Policy(LlamaForCausalLM(config), ByteTokenizer(), with_values=True)
        torch.nn.init.normal_(policy.value_head.output.weight)
        return policy


def train_on(policy, ids, name):
    """Gradients of all weights for one of the losses of the policy tokens in ``ids``."""
    policy.zero_grad()
    output = policy(ids, MASK)
    trained = output.values if name == "clipped value" else output.log_probs
    given = torch.rand(MASK.shape, generator=torch.Generator().manual_seed(2))
    LOSSES[name](trained, given, trained.detach(), MASK).sum().backward()
    return {
        name: weight.grad.clone()
        for name, weight in policy.named_parameters()
        if weight.grad is not None
    }


@pytest.mark.parametrize("name", LOSSES)
def test_policy_gradient_at_document_positions_is_exactly_zero(policy, name):
    seen = {}

    def keep_hidden(module, args, output):
        seen["hidden"] = output.last_hidden_state
        output.last_hidden_state.retain_grad()

    def keep_logits(module, args, output):
        seen["logits"] = output

    policy.model.model.register_forward_hook(keep_hidden)
    policy.model.lm_head.register_forward_hook(keep_logits)
    train_on(policy, IDS, name)
    predicts_policy = MASK[0, 1:]  # the state before a token is where it is predicted
    gradient = seen["hidden"].grad[0]
    assert (gradient[~predicts_policy] == 0.0).all()
    assert (gradient[predicts_policy] != 0.0).any(-1).all()
    assert seen["logits"].shape == (MASK.sum(), 12)  # of documents there are no logits at all


@pytest.mark.parametrize("name", LOSSES)
def test_policy_gradient_is_the_same_whatever_follows_the_last_policy_token(policy, name):
    other = IDS.clone()
    other[0, -3:] = torch.tensor([4, 0, 7])
    expected, found = train_on(policy, IDS, name), train_on(policy, other, name)
    assert expected.keys() == found.keys()
    for weight, gradient in expected.items():
        assert torch.allclose(found[weight], gradient, rtol=1e-5, atol=1e-7), weight


def test_policy_gradient_depends_on_documents_that_were_read(policy):
    other = IDS.clone()
    other[0, 5:7] = torch.tensor([11, 2])
    expected, found = (train_on(policy, ids, "clipped policy") for ids in (IDS, other))
    gradient = "model.model.layers.0.self_attn.q_proj.weight"
    assert not torch.allclose(found[gradient], expected[gradient], rtol=1e-2)


def test_policy_output_off_the_mask_is_zero_and_on_it_what_the_model_says(policy):
    output = policy(IDS, MASK)
    logits = policy.model(IDS).logits[:, :-1]
    all_log_probs = logits.log_softmax(-1)
    log_probs = all_log_probs.gather(-1, IDS[:, 1:, None])[..., 0]
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    for column, expected in ((output.log_probs, log_probs), (output.entropy, entropy)):
        assert (column[~MASK] == 0.0).all()
        assert torch.allclose(column[MASK], expected[MASK[:, 1:]], atol=1e-5)
    assert (output.values[~MASK] == 0.0).all()
    assert (output.values[MASK] != 0.0).all()
