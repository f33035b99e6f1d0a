"""What Gymnasium expects of an environment, over all ids."""

from __future__ import annotations

import inspect
import json
import pickle
import re
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.wrappers import RecordEpisodeStatistics

from tests.helpers import mixed_policy, search
from zs_env.prompts import TINY_PROMPT
from zs_env.registration import ENV_IDS, register_envs

CONFIGURATIONS = [
    {},
    {"engine": "bm25", "observation": "delta"},
    {"split": "test", "world_size": "medium", "noise": "constant", "max_turns": 2},
    {"world_size": "tiny", "prompt_template": TINY_PROMPT, "top_k": 1, "document_words": 8},
]

every_env = pytest.mark.parametrize("env_id", ENV_IDS)
every_configuration = pytest.mark.parametrize("kwargs", CONFIGURATIONS)


@every_env
@every_configuration
def test_check_env_is_clean(env_id, kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(env_id, **kwargs).unwrapped)
        for render_mode in (None, "ansi", "human"):
            check_env(gym.make(env_id, render_mode=render_mode, **kwargs).unwrapped)


@every_env
@every_configuration
def test_passive_checker_is_clean_over_whole_episodes(env_id, kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(env_id, disable_env_checker=False, render_mode="ansi", **kwargs)
        observation, _ = env.reset(seed=1)
        for _ in range(30):
            observation, _, terminated, truncated, _ = env.step(mixed_policy(observation))
            env.render()
            if terminated or truncated:
                observation, _ = env.reset()
        env.close()
        env.close()


@every_env
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


@every_env
@every_configuration
def test_env_pickled_in_the_middle_goes_on_the_same(env_id, kwargs):
    env = gym.make(env_id, **kwargs)
    observation, _ = env.reset(seed=5)
    env.step(search("a"))
    data = pickle.dumps(env)
    assert len(data) < 20_000, "the world and the index are not pickled"
    copy = pickle.loads(data)
    for step in range(12):
        turn = mixed_policy(f"{observation} {step}")
        steps = [e.step(turn) for e in (env, copy)]
        assert data_equivalence(*steps, exact=True)
        if steps[0][2] or steps[0][3]:
            assert data_equivalence(env.reset(), copy.reset(), exact=True)


@every_env
@every_configuration
def test_env_spec_survives_json(env_id, kwargs):
    env = gym.make(env_id, **kwargs)
    text = env.spec.to_json()
    assert json.loads(text)["kwargs"] == {**kwargs}
    again = gym.make(EnvSpec.from_json(text))
    assert again.spec == env.spec
    assert again.reset(seed=2)[0] == env.reset(seed=2)[0]


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
    return gym.make(f"zs_env:{env_id}", observation="transcript")


@every_env
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_async_vector_env_with_shared_memory_returns_the_right_text(env_id, context):
    envs = AsyncVectorEnv([lambda: make_env(env_id)] * 2, shared_memory=True, context=context)
    singles = [make_env(env_id) for _ in range(2)]
    try:
        observations, _ = envs.reset(seed=7)
        expected = [env.reset(seed=7 + i)[0] for i, env in enumerate(singles)]
        assert list(observations) == expected
        for text in ("<search>é 漢字 🙂</search>", "\ud800", "<search>rival</search>"):
            observations = envs.step([text] * 2)[0]
            assert list(observations) == [env.step(text)[0] for env in singles]
    finally:
        envs.close()


@every_env
def test_gymnasium_wrappers_apply(env_id):
    env = RecordEpisodeStatistics(gym.make(env_id))
    env.reset(seed=0)
    *_, terminated, _, info = env.step("<answer>x</answer>")
    assert terminated and info["episode"]["l"] == 1
    envs = gym.wrappers.vector.RecordEpisodeStatistics(gym.make_vec(env_id, num_envs=2))
    envs.reset(seed=0)
    info = envs.step(["<answer>x</answer>"] * 2)[-1]
    assert np.array_equal(info["episode"]["l"], [1, 1])


@every_env
def test_env_docstring_table_states_every_argument_and_default(env_id):
    """The class docstring is the specification: it must not drift from the code."""
    import dataclasses

    from zs_env.env import ZeroSearchEnv
    from zs_env.factory import EpisodeFactory

    table = inspect.getdoc(ZeroSearchEnv).split("## Arguments")[1]
    rows = dict(re.findall(r"^\| `(\w+)`\s+\| `(.+?)`\s+\|", table, re.MULTILINE))
    defaults = {
        f.name: f.default if f.default is not dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(EpisodeFactory)
        if f.init
    }
    defaults |= {"observation": "transcript", "render_mode": None}
    documented = {
        name: defaults[name] if text == "prompts.PROMPT" else eval(text)
        for name, text in rows.items()
    }
    assert documented == defaults
