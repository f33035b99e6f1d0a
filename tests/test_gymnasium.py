"""What Gymnasium expects of an environment, over all ids."""

from __future__ import annotations

import json
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.vector.utils import concatenate, create_empty_array
from gymnasium.wrappers import RecordEpisodeStatistics

from tests.helpers import mixed_policy
from zs_env.envs.registration import ENV_IDS, register_envs
from zs_env.prompts import TINY_PROMPT

CONFIGURATIONS = {
    "ZeroSearch-v0": [
        {},
        {"engine": "bm25", "observation": "delta"},
        {"split": "test", "world_size": "medium", "noise": "constant", "max_turns": 2},
        {"world_size": "tiny", "prompt_template": TINY_PROMPT, "top_k": 1, "document_words": 8},
    ],
    "ZeroSearchToken-v1": [
        {},
        {"engine": "bm25", "masking": "vocabulary", "context_length": 512},
        {"split": "test", "noise": "constant", "max_turns": 2, "masking": "none"},
        {"world_size": "tiny", "max_turn_tokens": 5, "context_length": 128, "document_words": 8},
    ],
}
MAX_PICKLED_BYTES = {"ZeroSearch-v0": 20_000, "ZeroSearchToken-v1": 40_000}

every_env = pytest.mark.parametrize("env_id", ENV_IDS)
every_configuration = pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [(env_id, kwargs) for env_id in ENV_IDS for kwargs in CONFIGURATIONS[env_id]],
)


def choose(env, observation):
    """An action that is sensible: the text of a turn, or a token that the mask allows."""
    if isinstance(observation, str):
        return mixed_policy(observation)
    return env.action_space.sample(env.unwrapped.action_masks().astype(np.int8))


@every_configuration
def test_check_env_is_clean(env_id, kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(env_id, **kwargs).unwrapped)
        for render_mode in (None, "ansi", "human"):
            check_env(gym.make(env_id, render_mode=render_mode, **kwargs).unwrapped)


@every_configuration
def test_passive_checker_is_clean_over_whole_episodes(env_id, kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(env_id, disable_env_checker=False, render_mode="ansi", **kwargs)
        env.action_space.seed(1)
        observation, _ = env.reset(seed=1)
        for _ in range(60):
            observation, _, terminated, truncated, _ = env.step(choose(env, observation))
            env.render()
            if terminated or truncated:
                observation, _ = env.reset()
        env.close()
        env.close()


@every_configuration
def test_env_same_seed_same_episodes(env_id, kwargs):
    def rollout(seed):
        env = gym.make(env_id, **kwargs)
        env.action_space.seed(seed)
        steps = [env.reset(seed=seed)]
        for _ in range(40):
            steps.append(env.step(env.action_space.sample()))
            if steps[-1][2] or steps[-1][3]:
                steps.append(env.reset())
        return steps

    first, second, other = rollout(3), rollout(3), rollout(4)
    assert data_equivalence(first, second, exact=True)
    assert not data_equivalence(first, other)


@every_configuration
def test_env_pickled_in_the_middle_goes_on_the_same(env_id, kwargs):
    env = gym.make(env_id, **kwargs)
    env.action_space.seed(5)
    observation, _ = env.reset(seed=5)
    observation = env.step(choose(env, observation))[0]
    data = pickle.dumps(env)
    assert len(data) < MAX_PICKLED_BYTES[env_id], "the world and the index are not pickled"
    copy = pickle.loads(data)
    for _ in range(60):
        action = choose(env, observation)
        steps = [e.step(action) for e in (env, copy)]
        assert data_equivalence(*steps, exact=True)
        observation = steps[0][0]
        if steps[0][2] or steps[0][3]:
            resets = [e.reset() for e in (env, copy)]
            assert data_equivalence(*resets, exact=True)
            observation = resets[0][0]


@every_configuration
def test_env_spec_survives_json(env_id, kwargs):
    env = gym.make(env_id, **kwargs)
    text = env.spec.to_json()
    assert json.loads(text)["kwargs"] == {**kwargs}
    again = gym.make(EnvSpec.from_json(text))
    assert again.spec == env.spec
    assert data_equivalence(again.reset(seed=2), env.reset(seed=2), exact=True)


@every_env
def test_env_id_with_module_prefix_works_without_import(env_id):
    assert gym.make(f"zs_env:{env_id}").reset(seed=0)[0]
    register_envs()  # a second time
    assert gym.spec(env_id).nondeterministic is False


@every_env
def test_make_vec_gives_the_native_vector_env(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs = gym.make_vec(env_id, num_envs=3)
    assert type(envs).__module__.startswith("zs_env.")
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observations, _ = envs.reset(seed=0)
    assert observations in envs.observation_space
    assert gym.make_vec(EnvSpec.from_json(envs.spec.to_json())).num_envs == 3


def make_env(env_id):
    """As a function of the module, so that spawned workers can have it."""
    return gym.make(f"zs_env:{env_id}", max_turns=4)


@every_env
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_async_vector_env_with_shared_memory_returns_the_right_text(env_id, context):
    envs = AsyncVectorEnv([lambda: make_env(env_id)] * 2, shared_memory=True, context=context)
    singles = [make_env(env_id) for _ in range(2)]
    actions = ["<search>é 漢字 🙂</search>", "\ud800", "<search>rival</search>"]
    if env_id == "ZeroSearchToken-v1":
        actions = singles[0].unwrapped.setup.encoder.encode("".join(actions))

    def batched(items):
        space = envs.single_observation_space
        return concatenate(space, items, create_empty_array(space, 2))

    try:
        observations, _ = envs.reset(seed=7)
        expected = batched([env.reset(seed=7 + i)[0] for i, env in enumerate(singles)])
        assert data_equivalence(observations, expected, exact=True)
        for action in actions:
            observations = envs.step([action] * 2)[0]
            expected = batched([env.step(action)[0] for env in singles])
            assert data_equivalence(observations, expected, exact=True)
    finally:
        envs.close()


@every_env
def test_gymnasium_wrappers_apply(env_id):
    env = RecordEpisodeStatistics(gym.make(env_id))
    env.reset(seed=0)
    actions = ["<answer>x</answer>"]
    if env_id == "ZeroSearchToken-v1":
        actions = env.unwrapped.setup.encoder.encode(actions[0])
    for action in actions:
        *_, terminated, _, info = env.step(action)
    assert terminated and info["episode"]["l"] == len(actions)
    envs = gym.wrappers.vector.RecordEpisodeStatistics(gym.make_vec(env_id, num_envs=2))
    envs.reset(seed=0)
    for action in actions:
        info = envs.step([action] * 2)[-1]
    assert np.array_equal(info["episode"]["l"], [len(actions)] * 2)
