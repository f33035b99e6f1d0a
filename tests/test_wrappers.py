"""Wrappers that advance the curriculum."""

from __future__ import annotations

import gymnasium as gym
import pytest

from tests.helpers import EchoEngine, answer
from zs_env.envs.text_vector_env import ZeroSearchVectorEnv
from zs_env.envs.wrappers import EpisodeProgress, VectorEpisodeProgress


def test_episode_progress_counts_finished_episodes_up_to_one():
    env = EpisodeProgress(gym.make("ZeroSearch-v0", engine=EchoEngine()), total_episodes=4)
    progress = []
    for episode in range(6):
        progress.append(env.reset(seed=episode)[1]["progress"])
        env.step("hm")  # a turn that ends nothing
        env.step(answer("x"))
    assert progress == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_episode_progress_is_in_the_spec():
    env = EpisodeProgress(gym.make("ZeroSearch-v0"), total_episodes=2)
    again = gym.make(env.spec)
    again.reset(seed=0)
    again.step(answer("x"))
    assert again.reset()[1]["progress"] == 0.5


def test_vector_episode_progress_counts_over_all_environments():
    envs = VectorEpisodeProgress(
        ZeroSearchVectorEnv(num_envs=2, autoreset_mode="SameStep", engine=EchoEngine()), 8
    )
    envs.reset(seed=0)
    envs.step([answer("x"), "hm"])
    assert list(envs.unwrapped.progress) == [1 / 8] * 2
    infos = envs.step([answer("x")] * 2)[-1]
    assert list(infos["progress"]) == [1 / 8, 1 / 8], "what this step began began before it ended"
    assert list(envs.unwrapped.progress) == [3 / 8] * 2


def test_vector_episode_progress_works_over_a_sync_vector_env():
    envs = gym.make_vec("ZeroSearch-v0", num_envs=2, vectorization_mode="sync")
    envs = VectorEpisodeProgress(envs, 4)
    envs.reset(seed=0)
    envs.step([answer("x"), "hm"])
    assert envs.unwrapped.get_attr("progress") == (0.25, 0.25)


def test_progress_without_a_curriculum_is_refused():
    with pytest.raises(TypeError, match="CartPoleEnv has no `set_progress`"):
        EpisodeProgress(gym.make("CartPole-v1"), 4)
    with pytest.raises(TypeError, match="CartPoleEnv has no `set_progress`"):
        VectorEpisodeProgress(gym.make_vec("CartPole-v1", 2, vectorization_mode="sync"), 4)


@pytest.mark.parametrize("wrap", [EpisodeProgress, VectorEpisodeProgress])
def test_progress_without_episodes_is_refused(wrap):
    env = gym.make("ZeroSearch-v0") if wrap is EpisodeProgress else ZeroSearchVectorEnv(num_envs=1)
    with pytest.raises(ValueError, match="at least 1"):
        wrap(env, 0)
