"""How episodes begin, in every driver."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from tests.helpers import EchoEngine, search
from zs_env import EpisodePool
from zs_env.envs.text_env import ZeroSearchEnv
from zs_env.envs.text_vector_env import ZeroSearchVectorEnv
from zs_env.envs.token_env import ZeroSearchTokenEnv
from zs_env.envs.token_vector_env import ZeroSearchTokenVectorEnv

DRIVERS = {
    "text": ZeroSearchEnv,
    "text vector": lambda **arguments: ZeroSearchVectorEnv(2, **arguments),
    "token": ZeroSearchTokenEnv,
    "token vector": lambda **arguments: ZeroSearchTokenVectorEnv(2, **arguments),
    "pool": lambda **arguments: EpisodePool(2, **arguments),
}
every_driver = pytest.mark.parametrize("make", DRIVERS.values(), ids=DRIVERS)


def reset(driver, **kwargs):
    """Reset; the infos of all environments, as lists."""
    if isinstance(driver, EpisodePool):
        driver.reset(**kwargs)
        infos = driver.recv().infos
        return {key: [info[key] for info in infos] for key in infos[0]}
    info = driver.reset(**kwargs)[1]
    return {key: np.atleast_1d(value).tolist() for key, value in info.items()}


@every_driver
def test_noise_probability_of_a_reset_is_for_one_episode_alone(make):
    driver = make(engine=EchoEngine(), noise="linear", noise_end=0.5)
    driver.set_progress(0.5)
    noises = [
        reset(driver, seed=0, options=options)["noise_probability"][0]
        for options in (None, {"noise_probability": 0.9}, None, {"noise_probability": 0.0}, None)
    ]
    assert noises == [0.25, 0.9, 0.25, 0.0, 0.25]
    assert reset(driver, options={"noise_probability": 1, "progress": 1.0})["progress"][0] == 1.0
    assert reset(driver)["noise_probability"][0] == 0.5


@every_driver
def test_noise_probability_of_a_real_engine_stays_zero(make):
    assert (
        reset(make(engine="bm25"), options={"noise_probability": 0.7})["noise_probability"][0] == 0
    )


@every_driver
@pytest.mark.parametrize("noise", [-0.1, 1.5, "0.5", True])
def test_noise_probability_out_of_range_is_refused(make, noise):
    with pytest.raises((TypeError, ValueError), match="`noise_probability` must be a number in"):
        make().reset(options={"noise_probability": noise})


def test_noise_probability_may_differ_from_environment_to_environment():
    envs = ZeroSearchVectorEnv(3, engine=EchoEngine())
    infos = envs.reset(seed=0, options={"noise_probability": [0.1, None, 0.3], "progress": 1.0})[1]
    assert infos["noise_probability"].tolist() == [0.1, 0.5, 0.3]


@every_driver
def test_key_and_question_of_a_reset_give_the_same_episode_again(make):
    driver = make(engine=EchoEngine(), noise="constant")
    first = reset(driver, seed=5)
    again = reset(driver, options={"question": first["question_id"][0], "key": first["key"][0]})
    for name in ("question_id", "key", "noise_probability"):
        assert again[name][0] == first[name][0]


def test_key_stands_in_the_infos_of_a_vector_as_64_bits():
    infos = ZeroSearchVectorEnv(8).reset(seed=0)[1]
    assert infos["key"].dtype == np.uint64 and len(set(infos["key"].tolist())) == 8
    env = ZeroSearchEnv()
    assert env.reset(seed=0)[1]["key"] == infos["key"][0] == env.episode.key


@every_driver
def test_refused_progress_changes_nothing(make):
    """A value out of range was kept, and refused again at every reset, for ever."""
    driver = make(noise="linear", noise_end=1.0)
    driver.set_progress(0.25)
    for wrong in (1.5, -1, float("nan")):
        with pytest.raises(ValueError, match="`progress` must be a number in"):
            driver.set_progress(wrong)
        with pytest.raises(ValueError, match="`progress` must be a number in"):
            driver.reset(options={"progress": wrong})
    info = reset(driver, seed=0)
    assert info["progress"][0] == info["noise_probability"][0] == 0.25


@every_driver
def test_refused_option_begins_nothing(make):
    driver = make()
    before = reset(driver, seed=3)["question_id"]
    with pytest.raises(ValueError, match="no question with the id"):
        driver.reset(options={"question": "nobody", "progress": 0.5})
    assert reset(driver, options={"question": before[0]})["progress"][0] == 0.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda pool: pool.send([0.9], ["x"]), TypeError, "`episode_ids` must be an integer"),
        (lambda pool: pool.send(0, ["x"]), TypeError, "`episode_ids` must be a sequence"),
        (lambda pool: pool.send([0], None), ValueError, "`actions` must be 1 strings"),
        (lambda pool: pool.reset([1.7]), TypeError, "`episode_ids` must be an integer, got 1.7"),
        (lambda pool: pool.reset("12"), TypeError, "`episode_ids` must be a sequence of integers"),
        (lambda pool: pool.reset([0, 0]), ValueError, "must differ from each other"),
        (lambda pool: pool.reset([True]), TypeError, "must be an integer, got True"),
        (lambda pool: pool.reset(seed=-1), ValueError, "`seed` must be at least 0"),
        (lambda pool: pool.recv(1.5), TypeError, "`min_ready` must be an integer, got 1.5"),
        (copy.copy, TypeError, "cannot be copied or pickled"),
        (copy.deepcopy, TypeError, "cannot be copied or pickled"),
        (pickle.dumps, TypeError, "cannot be copied or pickled"),
    ],
)
def test_pool_nonsense_is_refused_and_changes_nothing(call, error, message):
    pool = EpisodePool(2, engine=EchoEngine())
    pool.reset(seed=0)
    first = pool.recv()
    with pytest.raises(error, match=message):
        call(pool)
    pool.send([0, 1], [search("a"), search("b")])
    assert pool.recv(2).episode_ids.tolist() == first.episode_ids.tolist() == [0, 1]


@pytest.mark.parametrize("actions", [None, 3])
def test_vector_env_actions_that_are_no_sequence_are_refused(actions):
    envs = ZeroSearchVectorEnv(2)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="`actions` must be a sequence of 2 strings"):
        envs.step(actions)
