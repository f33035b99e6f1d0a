"""The native vector version of the token environment, against single ones."""

from __future__ import annotations

import pickle
import tracemalloc

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tests.helpers import QUESTION, ByteTokenizer, EchoEngine, FixedEngine, bpe_tokenizer
from zs_env.envs.token_env import ZeroSearchTokenEnv
from zs_env.envs.token_vector_env import ZeroSearchTokenVectorEnv
from zs_env.prompts import TINY_PROMPT

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]
SEARCH = "<think>need</think><search>ada</search>"
ANSWER = "<think>need</think><answer>ada</answer>"
SHORT = {"world_size": "tiny", "max_turn_tokens": 8, "max_turns": 3, "context_length": 128}
CONFIGURATIONS = [
    {**SHORT, "noise": "constant", "noise_end": 0.5},
    {**SHORT, "masking": "vocabulary", "tokenizer": bpe_tokenizer(), "context_length": 700},
    {**SHORT, "masking": "none", "tokenizer": ByteTokenizer(), "context_length": 800},
]


def make(num_envs=3, **kwargs):
    defaults = {
        "questions": [QUESTION],
        "engine": FixedEngine("Jarrow Corvale."),
        "prompt_template": TINY_PROMPT,
        "context_length": 128,
        "max_turn_tokens": 10,
    }
    return ZeroSearchTokenVectorEnv(num_envs, **{**defaults, **kwargs})


def make_pair(num_envs, mode, **kwargs):
    native = ZeroSearchTokenVectorEnv(num_envs, autoreset_mode=mode, **kwargs)
    single = [lambda: ZeroSearchTokenEnv(**kwargs)] * num_envs
    return native, SyncVectorEnv(single, autoreset_mode=mode)


def encode(envs, *texts):
    """The tokens of ``texts``, which have equally many, one text for each environment."""
    return np.array([envs.setup.encoder.encode(text) for text in texts]).T


def sample(draw, masks, share_masked=0.03):
    """A token for each environment, now and then one that the mask forbids."""
    free = np.maximum(masks, draw.random((len(masks), 1)) < share_masked)
    return (draw.random(masks.shape) * free).argmax(axis=1)


def without_masks(infos):
    return {key: value for key, value in infos.items() if "action_mask" not in key}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("num_envs", [1, 7])
@pytest.mark.parametrize("kwargs", CONFIGURATIONS)
def test_token_vector_env_equals_sync_vector_env_in_everything(mode, num_envs, kwargs):
    """The infos of what ended once lacked the mask that the single environment gives."""
    native, sync = make_pair(num_envs, mode, **kwargs)
    draw = np.random.default_rng(0)
    results = [native.reset(seed=11), sync.reset(seed=11)]
    assert data_equivalence(*results, exact=True)
    num_over = 0
    for _ in range(150):
        actions = sample(draw, native.action_masks())
        results = [native.step(actions), sync.step(actions)]
        assert data_equivalence(*results, exact=True)
        masks = np.stack([env.unwrapped.action_masks() for env in sync.envs])
        assert np.array_equal(native.action_masks(), masks)
        over = results[0][2] | results[0][3]
        num_over += over.sum()
        if mode is AutoresetMode.DISABLED and over.any():
            options = {"reset_mask": over.copy()}
            (observations, infos), expected = (e.reset(options=options) for e in (native, sync))
            assert data_equivalence(observations, expected[0], exact=True)
            assert data_equivalence(without_masks(infos), without_masks(expected[1]), exact=True)
            assert np.array_equal(infos["action_mask"][over], expected[1]["action_mask"][over])
    assert num_over > 2


def test_token_vector_env_gives_every_mask_also_at_a_partial_reset():
    """Where `SyncVectorEnv` has rows of zeros, which a policy could not sample from."""
    envs = make(autoreset_mode="Disabled")
    envs.reset(seed=0)
    tokens = encode(envs, *[ANSWER] * 3)
    envs.step(tokens[0])
    mask = np.array([False, True, False])
    _, infos = envs.reset(options={"reset_mask": mask})
    assert infos["action_mask"].any(axis=1).all() and infos["_action_mask"].all()
    assert np.array_equal(infos["action_mask"], envs.action_masks())
    think = envs.setup.tokenizer.token_id("<think>")
    assert list(infos["action_mask"][:, think]) == [0, 1, 0]
    assert list(infos["_question_id"]) == list(mask)


@pytest.mark.parametrize("mode", MODES)
def test_token_vector_env_masked_reset_with_options_equals_sync_vector_env(mode):
    native, sync = make_pair(5, mode, **SHORT, noise_end=1.0)
    draw = np.random.default_rng(0)
    for envs in (native, sync):
        envs.reset(seed=1)
    for _ in range(80):
        actions = sample(draw, native.action_masks())
        results = [envs.step(actions) for envs in (native, sync)]
        assert data_equivalence(*results, exact=True)
        mask = draw.random(5) < 0.05
        if mode is AutoresetMode.DISABLED:
            mask |= results[0][2] | results[0][3]
        if mask.any():
            options = {"progress": float(draw.random())}
            (observations, infos), expected = (
                envs.reset(options=options | {"reset_mask": mask.copy()}) for envs in (native, sync)
            )
            assert data_equivalence(observations, expected[0], exact=True)
            assert data_equivalence(without_masks(infos), without_masks(expected[1]), exact=True)


def test_token_vector_env_same_step_keeps_what_ended():
    envs = make(2, autoreset_mode="SameStep")
    before, _ = envs.reset(seed=0)
    tokens = encode(envs, SEARCH, ANSWER)
    for actions in tokens:
        observations, rewards, terminations, truncations, infos = envs.step(actions)
    assert list(terminations) == [False, True] and not truncations.any()
    assert rewards.dtype == np.float64 and list(infos["_final_obs"]) == [False, True]
    final = infos["final_obs"][1]
    assert infos["final_obs"][0] is None and final in envs.single_observation_space
    assert list(final["tokens"][8:14]) == list(tokens[:, 1]) and list(final["length"]) == [14]
    assert observations["length"][1] == before["length"][1] == 8
    assert not observations["roles"][1, 8:].any()
    assert infos["final_info"]["answer"][1] == "ada" and list(infos["num_documents"]) == [1, 0]
    assert list(infos["_final_info"]) == [False, True]
    assert list(infos["final_info"]["num_masked"]) == [0, 0]


def test_token_vector_env_ignored_tokens_may_be_anything():
    envs = make(2)
    envs.reset(seed=0)
    for actions in encode(envs, ANSWER, SEARCH):
        envs.step(actions)
    think = envs.setup.tokenizer.token_id("<think>")
    observations = envs.step(np.array([-7, think]))[0]
    assert list(observations["length"][:, 0]) == [8, 8 + 6 + 8 + 1]


def test_token_vector_env_refused_tokens_change_nothing():
    """What had ended was once begun all the same, and the next token written into it."""
    envs, untouched = make(2, masked_action="error"), make(2, masked_action="error")
    for e in (envs, untouched):
        e.reset(seed=0)
        for actions in encode(e, ANSWER, SEARCH):
            e.step(actions)
    think = envs.setup.tokenizer.token_id("<think>")
    with pytest.raises(InvalidAction, match="must be in"):
        envs.step(np.array([think, 5000]))
    with pytest.raises(InvalidAction, match="may not be written here"):
        envs.step(np.array([think, think + 1]))
    results = [e.step(np.array([think, think])) for e in (envs, untouched)]
    assert data_equivalence(*results, exact=True)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([1, 2], r"integers of shape \(3,\), one token for each environment, got int64 of shape"),
        (5, "integers of shape"),
        ([[1], [2], [3]], r"of shape \(3, 1\)"),
        ([1.0, 2.0, 3.0], "got float64"),
        ([True, False, True], "got bool"),
        ([1, None, 3], "got object"),
        ([1, 1176, 3], r"must be in \[0, 1176\), got 1 to 1176"),
        ([1, 2, -1], r"must be in \[0, 1176\), got -1 to 2"),
    ],
)
def test_token_vector_env_wrong_actions_are_refused(actions, message):
    envs = make()
    with pytest.raises(ResetNeeded):
        envs.step(np.zeros(3, dtype=np.int64))
    envs.reset(seed=0)
    with pytest.raises(InvalidAction, match=message):
        envs.step(actions)
    assert list(envs.step([5, 6, 7])[0]["length"][:, 0]) == [9, 9, 9]


def test_token_vector_env_asks_the_engine_once_a_step():
    engine = FixedEngine("x")
    envs = make(3, engine=engine)
    envs.reset(seed=0)
    blake = SEARCH.replace("ada", "blake")
    for actions in encode(envs, SEARCH, ANSWER, blake):
        envs.step(actions)
    assert engine.batch_sizes == [2]
    assert [request.query for request in engine.requests] == ["ada", "blake"]


def test_token_vector_env_engine_defect_leaves_it_to_be_reset():
    """Stepping went on once, with episodes that waited for ever for their documents."""

    class Broken(EchoEngine):
        def search(self, requests):
            raise ConnectionError

    envs = make(2, engine=Broken())
    envs.reset(seed=0)
    tokens = encode(envs, SEARCH, ANSWER)
    for actions in tokens[:-1]:
        envs.step(actions)
    with pytest.raises(ConnectionError):
        envs.step(tokens[-1])
    with pytest.raises(ResetNeeded):
        envs.step(tokens[-1])
    observations, _ = envs.reset()
    assert list(observations["length"][:, 0]) == [8, 8]


def test_token_vector_env_disabled_refuses_to_step_what_is_finished():
    envs = make(2, autoreset_mode="Disabled")
    envs.reset(seed=0)
    for actions in encode(envs, SEARCH, ANSWER):
        envs.step(actions)
    with pytest.raises(ResetNeeded, match=r"Environments \[1\] are finished"):
        envs.step(actions)


def test_token_vector_env_returns_fresh_arrays():
    changed, untouched = make(2), make(2)
    returned = [envs.reset(seed=0) for envs in (changed, untouched)]
    for actions in encode(untouched, SEARCH, ANSWER):
        for array in (*returned[0][0].values(), returned[0][-1]["action_mask"]):
            array[...] = 1
        changed.action_masks()[...] = True
        returned = [envs.step(actions) for envs in (changed, untouched)]
        assert data_equivalence(*returned, exact=True)


def test_token_vector_env_progress_reaches_later_episodes():
    envs = make(2, noise="linear", noise_end=1.0, engine=EchoEngine(), autoreset_mode="SameStep")
    envs.reset(seed=0)
    envs.set_progress(0.25)
    for actions in encode(envs, SEARCH, ANSWER):
        infos = envs.step(actions)[-1]
    assert [episode.noise_probability for episode in envs.episodes] == [0.0, 0.25]
    assert list(infos["progress"]) == [0.0, 0.25]


def test_token_vector_env_closes_twice_and_is_picklable():
    envs = gym.make_vec("ZeroSearchToken-v1", num_envs=3, **SHORT)
    envs.reset(seed=0)
    data = pickle.dumps(envs)
    assert len(data) < 20_000, "neither the world nor the masks are pickled"
    copy = pickle.loads(data)
    assert copy.unwrapped.source.rules == envs.unwrapped.source.rules
    draw = np.random.default_rng(0)
    for _ in range(40):
        actions = sample(draw, envs.unwrapped.action_masks())
        assert data_equivalence(envs.step(actions), copy.step(actions), exact=True)
    envs.close()
    envs.close()


def test_token_vector_env_renders_every_transcript():
    envs = make(2, render_mode="ansi")
    envs.reset(seed=0)
    assert envs.render() == ("Question: Where was Ada Blake born?\n",) * 2
    with pytest.raises(ValueError, match="must be None or 'ansi'"):
        make(render_mode="human")


def test_a_step_copies_its_observation_once():
    envs = ZeroSearchTokenVectorEnv(64, context_length=4096, autoreset_mode="SameStep")
    observation, infos = envs.reset(seed=0)
    size = sum(array.nbytes for array in observation.values())
    tokens = infos["action_mask"].argmax(axis=1)
    envs.step(tokens)
    tracemalloc.start()
    envs.step(tokens)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size <= peak < 1.5 * size
