"""The native vector environment, against Gymnasium's own over single environments."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tests.helpers import QUESTION, EchoEngine, FixedEngine, answer, mixed_policy, search
from zs_env import Question
from zs_env.envs.episode_vector_env import batch_infos
from zs_env.envs.text_env import ZeroSearchEnv
from zs_env.envs.text_vector_env import ZeroSearchVectorEnv

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


def make_pair(num_envs, mode, **kwargs):
    native = ZeroSearchVectorEnv(num_envs=num_envs, autoreset_mode=mode, **kwargs)
    sync = SyncVectorEnv([lambda: ZeroSearchEnv(**kwargs)] * num_envs, autoreset_mode=mode)
    return native, sync


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_envs", [1, 7, 256])
@pytest.mark.parametrize("observation", ["transcript", "delta"])
def test_vector_env_equals_sync_vector_env_in_everything(mode, num_envs, observation):
    kwargs = {"noise": "constant", "noise_end": 0.5, "max_turns": 3, "observation": observation}
    native, sync = make_pair(num_envs, mode, **kwargs)
    results = [native.reset(seed=11), sync.reset(seed=11)]
    assert data_equivalence(*results, exact=True)
    for step in range(12):
        turns = [mixed_policy(f"{text} {step} {i}") for i, text in enumerate(results[0][0])]
        results = [native.step(turns), sync.step(turns)]
        assert data_equivalence(*results, exact=True)
        over = results[0][2] | results[0][3]
        if mode is AutoresetMode.DISABLED and over.any():
            results = [envs.reset(options={"reset_mask": over.copy()}) for envs in (native, sync)]
            assert data_equivalence(*results, exact=True)


@pytest.mark.parametrize("mode", MODES)
def test_vector_env_masked_reset_with_options_equals_sync_vector_env(mode):
    """Progress once changed for environments that were not reset."""
    native, sync = make_pair(5, mode, noise_end=1.0, max_turns=3)
    results = [envs.reset(seed=1) for envs in (native, sync)]
    draw = np.random.default_rng(0)
    for step in range(30):
        turns = [mixed_policy(f"{text} {step} {i}") for i, text in enumerate(results[0][0])]
        results = [envs.step(turns) for envs in (native, sync)]
        assert data_equivalence(*results, exact=True)
        mask = draw.random(5) < 0.3
        if mode is AutoresetMode.DISABLED:
            mask |= results[0][2] | results[0][3]
        if mask.any():
            options = {"progress": float(draw.random())}
            results = [
                envs.reset(options=options | {"reset_mask": mask.copy()}) for envs in (native, sync)
            ]
            assert data_equivalence(*results, exact=True)


@pytest.mark.parametrize("reset", [{"progress": 0.7, "question": ["q", "q", "none"]}])
def test_vector_env_refused_reset_changes_nothing(reset):
    questions = [Question(str(i), f"Question {i}?", ("x",)) for i in range(9)]
    refused, untouched = (
        ZeroSearchVectorEnv(num_envs=3, questions=[QUESTION, *questions], engine=EchoEngine())
        for _ in range(2)
    )
    for envs in (refused, untouched):
        envs.reset(seed=0)
    with pytest.raises(ValueError, match="no question with the id 'none'"):
        refused.reset(options=reset)
    assert data_equivalence(refused.reset(), untouched.reset(), exact=True)


def test_vector_env_engine_defect_leaves_it_to_be_reset():
    class Broken(EchoEngine):
        def search(self, requests):
            raise ConnectionError

    for envs in (ZeroSearchVectorEnv(num_envs=1, engine=Broken()), ZeroSearchEnv(engine=Broken())):
        turns = [search("a")] if isinstance(envs, ZeroSearchVectorEnv) else search("a")
        envs.reset(seed=0)
        with pytest.raises(ConnectionError):
            envs.step(turns)
        with pytest.raises(ResetNeeded):
            envs.step(turns)
        envs.reset()


def test_vector_env_ignored_actions_may_be_anything():
    envs = ZeroSearchVectorEnv(num_envs=2, engine=EchoEngine())
    envs.reset(seed=0)
    envs.step([answer("x"), "hm"])
    envs.step([None, "hm"])
    assert [episode.turn for episode in envs.episodes] == [0, 2]


@pytest.mark.parametrize("seed", [3, [5, 9, 2], [4, None, 6]])
def test_vector_env_seeds_are_those_of_single_envs(seed):
    native, sync = make_pair(3, AutoresetMode.NEXT_STEP)
    seeds = [seed + i for i in range(3)] if isinstance(seed, int) else seed
    ids = native.reset(seed=seed)[1]["question_id"]
    expected = sync.reset(seed=seed)[1]["question_id"]
    seeded = [i for i in range(3) if seeds[i] is not None]
    assert list(ids[seeded]) == list(expected[seeded])
    # None keeps the stream that an environment has.
    kept = native.reset(seed=[None] * 3)[1]["question_id"]
    assert list(kept[seeded]) == list(sync.reset()[1]["question_id"][seeded])


def test_vector_env_asks_the_engine_once_a_step():
    engine = FixedEngine("x")
    envs = ZeroSearchVectorEnv(num_envs=5, engine=engine)
    envs.reset(seed=0)
    envs.step([search("a"), answer("b"), search("c"), "invalid", search("d")])
    assert engine.batch_sizes == [3]
    assert [request.query for request in engine.requests] == ["a", "c", "d"]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_vector_env_finished_envs_cost_no_engine_call(mode):
    engine = FixedEngine("x")
    envs = ZeroSearchVectorEnv(num_envs=2, engine=engine, autoreset_mode=mode)
    envs.reset(seed=0)
    envs.step([answer("a"), answer("b")])
    assert engine.batch_sizes == []
    envs.step([search("a"), search("b")])
    # In NextStep mode this step only begins the next episodes; in SameStep mode they have begun.
    assert engine.batch_sizes == ([] if mode is AutoresetMode.NEXT_STEP else [2])


def test_vector_env_same_step_keeps_what_ended():
    envs = ZeroSearchVectorEnv(num_envs=2, autoreset_mode="SameStep")
    before, _ = envs.reset(seed=0)
    golden = envs.episodes[1].question.golden_answers[0]
    observations, rewards, terminations, truncations, infos = envs.step(["hm", answer(golden)])
    assert list(rewards) == [0.0, 1.0] and list(terminations) == [False, True]
    assert not truncations.any() and rewards.dtype == np.float64
    assert infos["final_obs"][0] is None
    assert infos["final_obs"][1] == before[1] + answer(golden)
    assert infos["final_info"]["f1"][1] == 1.0 and list(infos["_final_info"]) == [False, True]
    assert observations[1].count("Question: ") == 1 and observations[1] != before[1]


def test_vector_env_disabled_refuses_to_step_what_is_finished():
    envs = ZeroSearchVectorEnv(num_envs=3, autoreset_mode="Disabled")
    envs.reset(seed=0)
    envs.step(["hm", answer("x"), "hm"])
    with pytest.raises(ResetNeeded, match=r"Environments \[1\] are finished"):
        envs.step(["hm"] * 3)
    before = envs.episodes
    envs.reset(options={"reset_mask": np.array([False, True, False])})
    assert envs.episodes[0] is before[0] and envs.episodes[1] is not before[1]
    envs.step(["hm"] * 3)


def test_vector_env_options_apply_to_all_or_to_each():
    envs = ZeroSearchVectorEnv(num_envs=4, noise="constant", noise_end=0.5)
    ids = ["world-small-0-train-3"] * 2 + ["world-small-0-train-4", None]
    _, infos = envs.reset(
        seed=0, options={"question": ids, "key": [1, 1, 2, None], "progress": 0.3}
    )
    assert list(infos["question_id"][:3]) == ids[:3]
    assert set(infos["progress"]) == {0.3}
    observations = envs.step([search("rival of Ada Blake")] * 4)[0]
    assert observations[0] == observations[1] != observations[2]
    envs.reset(options={"question": "world-small-0-train-5", "key": 9})
    assert {episode.question.id for episode in envs.episodes} == {"world-small-0-train-5"}
    assert {episode.key for episode in envs.episodes} == {9}


def test_vector_env_failure_truncates_one_and_leaves_the_others():
    from zs_env import SearchEngine, SearchFailure, SearchResult

    class HalfDown(SearchEngine):
        async def asearch(self, request):
            if request.query == "down":
                raise SearchFailure("down")
            return SearchResult()

    envs = ZeroSearchVectorEnv(num_envs=2, engine=HalfDown())
    envs.reset(seed=0)
    _, rewards, terminations, truncations, infos = envs.step([search("down"), search("up")])
    assert list(truncations) == [True, False] and not terminations.any() and not rewards.any()
    assert list(infos["search_failed"]) == [True, False]
    assert list(infos["_search_failed"]) == [True, False]


def test_vector_env_renders_every_transcript():
    envs = ZeroSearchVectorEnv(num_envs=2, render_mode="ansi")
    observations, _ = envs.reset(seed=0)
    assert envs.render() == observations
    assert ZeroSearchVectorEnv(num_envs=1).render() is None


def test_vector_env_closes_twice_and_is_picklable():
    import pickle

    envs = gym.make_vec("ZeroSearch-v0", num_envs=3)
    envs.reset(seed=0)
    copy = pickle.loads(pickle.dumps(envs))
    assert data_equivalence(envs.step(["hm"] * 3), copy.step(["hm"] * 3), exact=True)
    envs.close()
    envs.close()


@pytest.mark.parametrize(
    ("actions", "error", "message"),
    [
        (["a", "b"], ValueError, "a sequence of 3 strings"),
        ("abc", ValueError, "a sequence of 3 strings"),
        (["a", 3, "b"], InvalidAction, "got int"),
    ],
)
def test_vector_env_wrong_actions_are_refused_before_any_is_taken(actions, error, message):
    envs = ZeroSearchVectorEnv(num_envs=3, engine=EchoEngine())
    with pytest.raises(ResetNeeded):
        envs.step(["a", "b", "c"])
    envs.reset(seed=0)
    with pytest.raises(error, match=message):
        envs.step(actions)
    assert [episode.turn for episode in envs.episodes] == [0, 0, 0]


@pytest.mark.parametrize(
    ("seed", "options", "error", "message"),
    [
        ([1, 2], None, ValueError, "`seed` must be one value or a list of 3"),
        (0, {"question": ["a"]}, ValueError, "`question` must be one value or a list of 3"),
        (0, {"reset_mask": [True] * 3}, TypeError, "must be a bool array"),
        (0, {"reset_mask": np.ones(2, bool)}, ValueError, r"shape \(3,\)"),
        (0, {"reset_mask": np.zeros(3, bool)}, ValueError, "one True"),
        (0, {"reset_mask": np.array([True, False, True])}, ResetNeeded, "first reset"),
        (0, {"mask": 1}, ValueError, "unknown reset options mask"),
    ],
)
def test_vector_env_wrong_reset_is_refused(seed, options, error, message):
    envs = ZeroSearchVectorEnv(num_envs=3, questions=[QUESTION], engine=EchoEngine())
    with pytest.raises(error, match=message):
        envs.reset(seed=seed, options=options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "`num_envs` must be at least 1"),
        ({"render_mode": "human"}, "must be None or 'ansi'"),
        ({"autoreset_mode": "never"}, "never"),
    ],
)
def test_vector_env_wrong_argument_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ZeroSearchVectorEnv(**arguments)


def test_batch_infos_has_arrays_of_the_right_type_and_masks():
    infos = batch_infos([(0, {"a": 1, "b": "x"}), (2, {"a": 3, "c": 0.5})], 3)
    assert {key: list(value) for key, value in infos.items()} == {
        "a": [1, 0, 3],
        "_a": [True, False, True],
        "b": ["x", None, None],
        "_b": [True, False, False],
        "c": [0.0, 0.0, 0.5],
        "_c": [False, False, True],
    }
    assert infos["a"].dtype == int and infos["c"].dtype == float
    assert batch_infos([], 2) == {}
