"""Advantages against values worked out by hand, and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from agents.objectives.advantages import (
    gae,
    group_relative,
    has_variance,
    leave_one_out,
    normalize,
    rewards_at_end,
)

T, F = True, False
SEEDS = range(20)


def plain_gae(rewards, values, mask, gamma, gae_lambda):
    """GAE of the policy tokens alone, episode by episode, in float64; documents are cut out."""
    advantages = np.zeros(mask.shape)
    for row in range(len(mask)):
        places = np.flatnonzero(mask[row])
        for i, place in enumerate(places):
            for j, later in enumerate(places[i:]):
                following = places[i + j + 1 :]
                next_value = values[row, following[0]] if len(following) else 0.0
                surprise = rewards[row, later] + gamma * next_value - values[row, later]
                advantages[row, place] += (gamma * gae_lambda) ** j * surprise
    return advantages


def random_columns(seed):
    """Ragged masks, a row of them empty, and rewards and values everywhere, documents included."""
    draw = np.random.default_rng(seed)
    mask = draw.random((6, 17)) < draw.random()
    mask &= np.arange(17) < draw.integers(1, 18, size=(6, 1))
    mask[2] = False
    return draw.normal(size=mask.shape), draw.normal(size=mask.shape), mask


def random_groups(seed):
    """Rewards, and groups of several sizes whose members are scattered."""
    draw = np.random.default_rng(seed)
    groups = draw.permutation(np.repeat(np.arange(5), [1, 2, 3, 5, 8]))
    return draw.integers(0, 4, size=len(groups)) / 3.0, groups


def test_rewards_at_end_stand_on_the_last_policy_token():
    mask = torch.tensor([[F, T, T, F, F], [F, T, F, T, F], [F, F, F, F, T], [F, F, F, F, F]])
    placed = rewards_at_end(torch.tensor([2.0, -1.0, 0.5, 9.0]), mask)
    assert placed.tolist() == [
        [0, 0, 2.0, 0, 0], [0, 0, 0, -1.0, 0], [0, 0, 0, 0, 0.5], [0, 0, 0, 0, 0],
    ]  # fmt: skip
    assert placed.dtype == torch.float32


def test_gae_of_three_policy_tokens_and_a_document_equals_values_by_hand():
    mask = torch.tensor([[F, T, T, F, T]])
    values = torch.tensor([[8.0, 0.5, 0.25, 9.0, 0.75]])
    rewards = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]])
    advantages, returns = gae(rewards, values, mask, gamma=0.5, gae_lambda=0.5)
    # Surprises: 1 - 0.75 = 0.25; 0.5 * 0.75 - 0.25 = 0.125; 0.5 * 0.25 - 0.5 = -0.375.
    last = 0.25
    second = 0.125 + 0.25 * last
    first = -0.375 + 0.25 * second
    assert advantages.tolist() == [[0, first, second, 0, last]]
    assert returns.tolist() == [[0, first + 0.5, second + 0.25, 0, 1.0]]


def test_gae_lambda_one_trusts_the_return():
    rewards, values, mask = random_columns(0)
    _, returns = gae(*(torch.from_numpy(x) for x in (rewards, values, mask)))
    kept = np.where(mask, rewards, 0.0)
    to_come = np.where(mask, kept[:, ::-1].cumsum(1)[:, ::-1], 0.0)
    assert np.allclose(returns.numpy(), to_come)


def test_gae_lambda_zero_trusts_the_next_value():
    mask = torch.tensor([[T, F, F, T]])
    values = torch.tensor([[0.25, 7.0, 7.0, 0.5]])
    rewards = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    advantages, _ = gae(rewards, values, mask, gamma=1.0, gae_lambda=0.0)
    assert advantages.tolist() == [[0.25, 0, 0, 0.5]]


@pytest.mark.parametrize("seed", SEEDS)
def test_gae_random_masks_equal_a_plain_loop(seed):
    rewards, values, mask = random_columns(seed)
    gamma, gae_lambda = np.random.default_rng(seed).random(2)
    columns = [torch.from_numpy(x) for x in (rewards, values, mask)]
    advantages, returns = gae(*columns, gamma, gae_lambda)
    expected = plain_gae(rewards, values, mask, gamma, gae_lambda)
    assert np.allclose(advantages.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert np.allclose(returns.numpy(), np.where(mask, expected + values, 0.0), atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_gae_other_documents_leave_policy_advantages_unchanged(seed):
    # In the public code of ZeroSearch the values of document tokens move the advantages.
    draw = torch.Generator().manual_seed(seed)
    policy_values = torch.randn(6, generator=draw)

    def advantages_with(num_document_tokens, scale):
        values = scale * torch.randn(1, 8 + num_document_tokens, generator=draw)
        mask = torch.zeros(values.shape, dtype=torch.bool)
        mask[0, 2:5] = mask[0, -3:] = True  # two tokens of prompt, a turn, documents, a turn
        values[mask] = policy_values
        rewards = rewards_at_end(torch.tensor([1.0]), mask)
        advantages, returns = gae(rewards, values, mask, gamma=0.99, gae_lambda=0.95)
        return advantages[mask], returns[mask]

    expected = advantages_with(0, 1.0)
    for documents in ((1, 1.0), (5, 1.0), (5, 100.0), (40, 1.0), (5, float("nan"))):
        found = advantages_with(*documents)
        assert torch.equal(found[0], expected[0]), documents
        assert torch.equal(found[1], expected[1]), documents


def test_group_relative_scattered_groups_equal_values_by_hand():
    rewards = torch.tensor([1.0, 3.0, 0.0, 0.0, 0.0])
    groups = torch.tensor([0, 1, 1, 0, 1])
    root = 2.0**0.5  # the deviation of 3, 0, 0
    expected = torch.tensor([1.0, 2 / root, -1 / root, -1.0, -1 / root])
    assert torch.allclose(group_relative(rewards, groups), expected)
    plain = group_relative(rewards, groups, divide_by_std=False)
    assert plain.tolist() == [0.5, 2.0, -1.0, -0.5, -1.0]


def test_leave_one_out_scattered_groups_equal_values_by_hand():
    rewards = torch.tensor([1.0, 3.0, 0.0, 0.0, 0.0])
    groups = torch.tensor([0, 1, 1, 0, 1])
    assert torch.allclose(
        leave_one_out(rewards, groups), torch.tensor([1.0, 3.0, -1.5, -1.0, -1.5])
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_group_advantages_random_groups_equal_plain_loops(seed):
    rewards, groups = random_groups(seed)
    columns = torch.from_numpy(rewards), torch.from_numpy(groups)
    relative, differences = group_relative(*columns), group_relative(*columns, divide_by_std=False)
    varied, alone = has_variance(*columns), leave_one_out(*columns)
    for number, (reward, group) in enumerate(zip(rewards, groups, strict=True)):
        members = rewards[groups == group]
        others = np.delete(rewards, number)[np.delete(groups, number) == group]
        centred = reward - members.mean()
        assert differences[number].item() == pytest.approx(centred)
        assert varied[number].item() == (len(set(members)) > 1)
        scaled = centred / members.std() if len(set(members)) > 1 else 0.0
        assert relative[number].item() == pytest.approx(scaled)
        baseline = others.mean() if len(others) else reward
        assert alone[number].item() == pytest.approx(reward - baseline)


def differences(rewards, groups):
    return group_relative(rewards, groups, divide_by_std=False)


@pytest.mark.parametrize("advantages_of", [group_relative, differences, leave_one_out])
def test_group_advantages_without_variance_are_exactly_zero(advantages_of):
    for reward in (0.0, 1.0, 0.1, 0.4, 0.8, 1 / 3, 2 / 3):
        for size in range(1, 17):
            rewards, groups = torch.full((size,), reward), torch.zeros(size, dtype=torch.int64)
            assert not has_variance(rewards, groups).any()
            assert advantages_of(rewards, groups).tolist() == [0.0] * size, (reward, size)


@pytest.mark.parametrize("advantages_of", [group_relative, differences, leave_one_out])
def test_group_advantages_of_a_group_of_one_are_zero(advantages_of):
    rewards, groups = torch.tensor([0.7, 0.0, 1.0]), torch.tensor([1, 0, 0])
    advantages = advantages_of(rewards, groups)
    assert advantages[0] == 0.0
    assert advantages[1] == -advantages[2] != 0.0


def test_normalize_uses_the_moments_given_and_keeps_the_mask():
    values = torch.tensor([[5.0, 1.0, float("inf")]])
    mask = torch.tensor([[T, T, F]])
    assert torch.allclose(normalize(values, mask, 3.0, 4.0), torch.tensor([[1.0, -1.0, 0.0]]))


def test_normalize_without_variance_stays_finite():
    values, mask = torch.full((1, 3), 0.5), torch.tensor([[T, T, F]])
    assert normalize(values, mask, 0.5, 0.0).tolist() == [[0.0, 0.0, 0.0]]
