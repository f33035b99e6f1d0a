"""Potential-based shaping: it telescopes, and the best policy stays the best."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import QUESTION, FixedEngine, answer, search
from zs_env.envs.shaping import PotentialShaping, golden_answer_seen
from zs_env.keyed_random import Stream
from zs_env.world import load_world
from zs_env.world.solver import HopByHopSolver

NUM_STATES, NUM_ACTIONS, TERMINAL, TRUNCATED = 5, 3, 4, 3


class TableEnv(gym.Env):
    """States 0 to 4: a step into 4 terminates, a step into 3 truncates."""

    observation_space = gym.spaces.Discrete(NUM_STATES)
    action_space = gym.spaces.Discrete(NUM_ACTIONS)

    def __init__(self, next_states, rewards):
        self.next_states, self.rewards, self.episode = next_states, rewards, 0

    def step(self, action):
        before, self.episode = self.episode, int(self.next_states[self.episode, action])
        over = self.episode == TERMINAL, self.episode == TRUNCATED
        return self.episode, float(self.rewards[before, action]), *over, {}


def best_values(env, gamma, bootstraps):
    """Values and action values, shape (states, actions), by value iteration over its steps."""
    states = range(TERMINAL)  # a truncated episode could go on, a terminated one could not
    values = np.zeros(NUM_STATES)
    for _ in range(300):
        action_values = np.zeros((NUM_STATES, NUM_ACTIONS))
        for state in states:
            for action in range(NUM_ACTIONS):
                env.unwrapped.episode = state
                after, reward, terminated, truncated, _ = env.step(action)
                goes_on = not terminated and (bootstraps or not truncated)
                action_values[state, action] = reward + gamma * goes_on * values[after]
        values = action_values.max(axis=1)
    return values[:TERMINAL], action_values[:TERMINAL]


TABLES = st.tuples(
    st.lists(st.integers(0, NUM_STATES - 1), min_size=15, max_size=15),
    st.lists(st.integers(-3, 3), min_size=15, max_size=15),
    st.lists(st.integers(-5, 5), min_size=NUM_STATES, max_size=NUM_STATES),
)


@pytest.mark.parametrize("bootstraps", [False, True])
@settings(max_examples=25)
@given(tables=TABLES, gamma=st.sampled_from([0.0, 0.5, 0.9]))
def test_best_policy_is_the_same_in_every_state_of_any_small_case(bootstraps, tables, gamma):
    """Value iteration with a truncation that is the end, and with one that is valued."""
    next_states, rewards = (np.array(table).reshape(NUM_STATES, -1) for table in tables[:2])
    potentials = tables[2]
    env = TableEnv(next_states, rewards)
    shaped = PotentialShaping(env, gamma, potentials.__getitem__, bootstraps)
    values, action_values = best_values(env, gamma, bootstraps)
    shaped_values, shaped_action_values = best_values(shaped, gamma, bootstraps)
    assert shaped_values == pytest.approx(values - potentials[:TERMINAL], abs=1e-6)
    advantages = action_values - values[:, None]
    assert shaped_action_values - shaped_values[:, None] == pytest.approx(advantages, abs=1e-6)


def test_potential_that_is_kept_at_the_end_changes_the_best_policy():
    """Why `bootstraps` must fit the trainer: from 0, action 0 truncates, action 1 earns 1."""
    env = TableEnv(np.array([[TRUNCATED, TERMINAL, TERMINAL]] * 5), np.array([[0, 1, 0]] * 5))
    potentials = [0.0, 0.0, 0.0, 5.0, 7.0]
    best = {}
    for bootstraps in (False, True):
        shaped = PotentialShaping(env, 0.9, potentials.__getitem__, bootstraps)
        best[bootstraps] = best_values(shaped, 0.9, bootstraps=False)[1][0].argmax()
    assert best == {False: 1, True: 0}


def judge(episode):
    """Any potential at all: numbers that are exact in floating point."""
    return Stream("potential", episode.transcript).integer(64) / 8 - 4


def play(env, choices, gamma, seed):
    """Play allowed tokens; the discounted return, its length and whether it was truncated."""
    env.reset(seed=seed)
    total = 0.0
    for step, choice in enumerate(choices):
        tokens = np.flatnonzero(env.unwrapped.action_masks())
        _, reward, terminated, truncated, _ = env.step(tokens[choice % len(tokens)])
        total += gamma**step * reward
        if terminated or truncated:
            return total, step + 1, truncated
    return None


@pytest.mark.parametrize("bootstraps", [False, True])
@settings(max_examples=40)
@given(
    choices=st.lists(st.integers(0, 10**6), min_size=60, max_size=60),
    gamma=st.sampled_from([1.0, 0.5, 0.97]),
    seed=st.integers(0, 9),
)
def test_shaped_return_is_the_return_less_the_potential_of_the_start(
    bootstraps, choices, gamma, seed
):
    kwargs = {"world_size": "tiny", "max_turn_tokens": 7, "max_turns": 3}
    env = gym.make("ZeroSearchToken-v1", **kwargs).unwrapped
    shaped = PotentialShaping(env, gamma, judge, bootstraps)
    plain, length, _ = play(env, choices, gamma, seed)
    total, shaped_length, truncated = play(shaped, choices, gamma, seed)
    assert shaped_length == length
    end = gamma**length * judge(env.episode) if truncated and bootstraps else 0.0
    env.reset(seed=seed)
    expected = plain - judge(env.episode) + end
    assert total == (expected if gamma == 1.0 else pytest.approx(expected, abs=1e-9))


def test_policies_keep_their_order_in_the_real_environment():
    env = gym.make("ZeroSearch-v0", split="test")
    shaped = PotentialShaping(env, 0.9)
    solver = HopByHopSolver(load_world())
    policies = [solver, lambda text: answer("nobody"), lambda text: search("birthplace of Ada")]

    def discounted_return(e, policy, seed):
        observation, _ = e.reset(seed=seed)
        total, step, over = 0.0, 0, False
        while not over:
            observation, reward, terminated, truncated, _ = e.step(policy(observation))
            total, step, over = total + 0.9**step * reward, step + 1, terminated or truncated
        return total

    for seed in range(20):
        returns = [[discounted_return(e, p, seed) for p in policies] for e in (env, shaped)]
        assert returns[1] == pytest.approx(returns[0]), "the start has a potential of 0"
        assert returns[1][0] > max(returns[1][1:])


def test_ready_made_potential_pays_for_the_document_and_takes_it_back_at_the_end():
    env = gym.make("ZeroSearch-v0", questions=[QUESTION], engine=FixedEngine("In Jarrow Corvale."))
    env = PotentialShaping(env, gamma=0.5)
    env.reset(seed=0)
    turns = ["hm", search("a"), search("b"), answer("Jarrow Corvale")]
    assert [env.step(turn)[1] for turn in turns] == [0.0, 0.5, -0.5, 0.0]
    assert golden_answer_seen(env.unwrapped.episode) == 1.0
    for bootstraps, last in ((False, -1.0), (True, -0.5)):
        again = PotentialShaping(env.unwrapped, 0.5, bootstraps=bootstraps)
        again.reset()
        rewards = [again.step(turn)[1] for turn in [search("a")] + ["hm"] * 4]
        assert rewards == [0.5, -0.5, -0.5, -0.5, last]


def test_shaping_is_in_the_spec():
    env = PotentialShaping(gym.make("ZeroSearchToken-v1", world_size="tiny"), 0.9, bootstraps=True)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert isinstance(again, PotentialShaping) and again.spec == env.spec


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 1.1}, r"`gamma` must be in \[0, 1\], got 1.1"),
        ({"gamma": 0.9, "potential": "luck"}, "must be one of golden_answer_seen, or a function"),
    ],
)
def test_wrong_argument_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PotentialShaping(gym.make("ZeroSearch-v0"), **arguments)


def test_environment_without_episodes_is_refused():
    with pytest.raises(TypeError, match="CartPoleEnv has no `episode`"):
        PotentialShaping(gym.make("CartPole-v1"), 0.9)
