"""The single text environment."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded

from tests.helpers import QUESTION, EchoEngine, FixedEngine, answer, search
from zs_env import Question
from zs_env.envs.text_env import ZeroSearchEnv
from zs_env.world import load_world


def test_env_plays_the_example_of_its_documentation():
    env = gym.make("ZeroSearch-v0", split="test")
    question = next(q for q in load_world().questions("test") if q.metadata["hops"] == 1)
    observation, info = env.reset(seed=0, options={"question": question.id, "progress": 0.4})
    assert question.text in observation
    assert info["question_id"] == question.id and info["progress"] == 0.4
    assert info["noise_probability"] == pytest.approx((4**0.4 - 1) / 3 * 0.5)
    observation, reward, terminated, truncated, info = env.step(answer(question.golden_answers[0]))
    assert (reward, terminated, truncated) == (1.0, True, False)


def test_env_questions_come_each_once_before_any_again():
    questions = [Question(str(i), f"Question {i}?", ("x",)) for i in range(7)]
    env = ZeroSearchEnv(questions=questions, engine=EchoEngine())
    ids = [env.reset(seed=1 if i == 0 else None)[1]["question_id"] for i in range(21)]
    epochs = [ids[:7], ids[7:14], ids[14:]]
    assert all(sorted(epoch) == list("0123456") for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_env_progress_sets_the_noise_of_later_episodes():
    env = ZeroSearchEnv(engine=EchoEngine(), noise_end=1.0)
    assert env.reset(seed=0)[1]["noise_probability"] == 0.0
    env.set_progress(1.0)
    assert env.step(search("a"))[-1]["noisy"] is False
    assert env.reset()[1]["noise_probability"] == 1.0
    assert env.step(search("a"))[-1]["noisy"] is True
    assert env.reset(options={"progress": 0.0})[1]["progress"] == 0.0
    assert env.progress == 0.0


def test_env_real_engine_is_never_labelled_noisy():
    env = ZeroSearchEnv(engine="bm25", noise="constant", noise_end=1.0)
    assert env.reset(seed=0)[1]["noise_probability"] == 0.0
    assert env.step(search("a"))[-1]["noisy"] is False


def test_env_key_fixes_noise_and_documents_of_a_group():
    def play(seed, key):
        env = ZeroSearchEnv(noise="constant", noise_end=0.5)
        options = {"question": "world-small-0-train-3"} | ({"key": key} if key else {})
        env.reset(seed=seed, options=options)
        steps = [env.step(search("rival of Ada Blake")) for _ in range(4)]
        return [step[-1]["noisy"] for step in steps], steps[-1][0]

    assert play(1, 7) == play(2, 7)
    assert play(1, 7) != play(1, 8)
    assert play(1, None) != play(2, None)


def test_env_delta_observations_add_up_to_the_transcript():
    turns = [search("a"), "hm", search("b"), answer("c")]
    delta = ZeroSearchEnv(engine=EchoEngine(), observation="delta")
    whole = ZeroSearchEnv(engine=EchoEngine())
    pieces = [delta.reset(seed=0)[0]]
    whole.reset(seed=0)
    for turn in turns:
        pieces += [turn, delta.step(turn)[0]]
        transcript = whole.step(turn)[0]
    assert "".join(pieces) == transcript
    assert pieces[-1] == ""


def test_env_unseeded_environments_differ():
    ids = {ZeroSearchEnv().reset()[1]["question_id"] for _ in range(8)}
    assert len(ids) > 1


@pytest.mark.parametrize(
    "action",
    ["", "\x00\xff\x1b[2J", "x" * 1_000_000, "<search>" * 100_000, "<think>" * 100_000 + "</think>",
     "<answer><search></answer></search>", "\ud800\udfff", "<search>\ud800</search>", "🙂" * 5000],
)  # fmt: skip
@pytest.mark.parametrize("engine", ["world", "bm25"])
def test_env_any_string_is_an_action(action, engine):
    env = ZeroSearchEnv(engine=engine)
    env.reset(seed=0)
    terminated = truncated = False
    while not (terminated or truncated):
        observation, reward, terminated, truncated, info = env.step(action)
        assert observation in env.observation_space
        assert type(reward) is float and type(terminated) is bool and type(truncated) is bool
    assert reward == 0.0


@pytest.mark.parametrize("action", [None, 3, b"<answer>x</answer>", ["x"]])
def test_env_action_that_is_no_string_is_refused(action):
    env = ZeroSearchEnv()
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="must be a str"):
        env.step(action)


def test_env_step_out_of_order_is_refused():
    for env in (ZeroSearchEnv(), gym.make("ZeroSearch-v0")):
        with pytest.raises(ResetNeeded):
            env.step("x")
        env.reset(seed=0)
        env.step(answer("x"))
        with pytest.raises(ResetNeeded):
            env.step("x")
    with pytest.raises(ResetNeeded):
        ZeroSearchEnv().episode  # noqa: B018


def test_env_failed_search_truncates():
    env = ZeroSearchEnv(engine=FixedEngine(failure="server down"))
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(search("a"))
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["search_failed"] is True


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_turns": 1}, ValueError, "`max_turns` must be at least 2, got 1"),
        ({"top_k": 0}, ValueError, "`top_k`"),
        ({"reward": "bleu"}, ValueError, "`reward` must be one of"),
        ({"noise": "cosine"}, ValueError, "noise schedule"),
        ({"noise_start": 2.0}, ValueError, r"`start` must be a number in \[0, 1\]"),
        ({"observation": "image"}, ValueError, "`observation` must be one of"),
        (
            {"world_size": "huge"},
            ValueError,
            "`world_size` must be one of tiny, small",
        ),
        ({"world_seed": "a"}, TypeError, "`world_seed` must be an integer"),
        ({"split": "dev"}, ValueError, "`split` must be one of"),
        ({"engine": "altavista"}, ValueError, "`engine` must be one of"),
        ({"questions": "nqa"}, ValueError, "`questions` must be"),
        ({"prompt_template": "none"}, ValueError, "{question}"),
        ({"max_context_chars": 4200}, ValueError, "raise the context limit"),
        ({"max_turn": 3}, TypeError, "max_turn"),
        (
            {"questions": [QUESTION, Question("l", "x" * 40_000, ("y",))]},
            ValueError,
            "question 'l'",
        ),
    ],
)
def test_env_wrong_argument_is_refused_at_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        ZeroSearchEnv(**arguments)
    with pytest.raises(error, match=message):
        gym.make_vec("ZeroSearch-v0", num_envs=2, **arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"questoin": "x"},
            "questoin .did you mean 'question'.*; expected progress, noise_probability",
        ),
        ({"question": "nobody"}, "no question with the id 'nobody'"),
        ({"progress": 2.0}, "`progress` must be a number in"),
    ],
)
def test_env_wrong_reset_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ZeroSearchEnv().reset(options=options)


def test_env_foreign_questions_with_the_world_engine_are_warned_about(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "Who?", "answers": ["she"]}')
    with pytest.warns(UserWarning, match="knows only the embedded world"):
        ZeroSearchEnv(questions=path)


def test_env_closes_the_engine_it_made_and_no_other():
    class Closing(EchoEngine):
        closed = 0

        def close(self):
            self.closed += 1

    engine = Closing()
    env = ZeroSearchEnv(engine=engine)
    env.close()
    env.close()
    assert engine.closed == 0


def test_env_question_by_name_does_not_disturb_the_order():
    """It once took a place, and at the border of an epoch repeated the order of the last one."""
    questions = [Question(str(i), f"Question {i}?", ("x",)) for i in range(6)]

    def order(named):
        env = ZeroSearchEnv(questions=questions, engine=EchoEngine())
        ids = []
        for reset in range(12 + len(named)):
            options = {"question": "0"} if reset in named else None
            info = env.reset(seed=3 if reset == 0 else None, options=options)[1]
            ids += [] if reset in named else [info["question_id"]]
        return ids

    assert order(()) == order((6,)) == order((0, 6, 7, 11))


@pytest.mark.parametrize("number", [np.int64(7), np.uint8(7), True + 6])
def test_env_seed_and_key_of_any_integer_type_are_the_same(number):
    def play(seed, key):
        env = ZeroSearchEnv(noise="constant", noise_end=0.5)
        observation, _ = env.reset(seed=seed, options={"key": key})
        return observation, [env.step(search("rival of Ada Blake"))[0] for _ in range(4)]

    assert play(7, 7) == play(int(number), number)
    singles = [ZeroSearchEnv().reset(seed=7)[0]]
    envs = gym.make_vec("ZeroSearch-v0", num_envs=1)
    assert list(envs.reset(seed=number)[0]) == singles == list(envs.reset(seed=[number])[0])


@pytest.mark.parametrize("key", ["7", 7.0, [7]])
def test_env_key_that_is_no_integer_is_refused(key):
    with pytest.raises(TypeError, match="`key` must be an integer"):
        ZeroSearchEnv().reset(options={"key": key})


def test_env_progress_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match="`progress` must be a number"):
        ZeroSearchEnv().set_progress("0.5")


def test_env_reward_that_returns_no_number_is_refused():
    env = ZeroSearchEnv(reward=lambda prediction, golden_answers: None)
    env.reset(seed=0)
    with pytest.raises(TypeError, match="`reward` must return a number, got None"):
        env.step(answer("x"))
