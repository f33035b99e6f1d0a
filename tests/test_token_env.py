"""The token environment: what it shows, when turns end, and that it agrees with the text one."""

from __future__ import annotations

import pickle
import warnings
from itertools import product

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import (
    QUESTION,
    ByteTokenizer,
    EchoEngine,
    FixedEngine,
    answer,
    bpe_tokenizer,
    search,
)
from zs_env import Question
from zs_env.actions import TAG_NAMES, ends_turn
from zs_env.envs.text_env import ZeroSearchEnv
from zs_env.envs.token_env import ZeroSearchTokenEnv
from zs_env.prompts import TINY_PROMPT
from zs_env.tokens.batch import TokenRole
from zs_env.world.text import vocabulary

SEARCH = "<think>need</think><search>ada</search>"  # 6 tokens of the world's tokenizer
ANSWER = "<think>need</think><answer>jarrow corvale</answer>"  # 7


def make(**kwargs):
    """One question of 8 tokens, and an engine whose documents take 8."""
    defaults = {
        "questions": [QUESTION],
        "engine": FixedEngine("Jarrow Corvale."),
        "prompt_template": TINY_PROMPT,
        "context_length": 64,
        "max_turn_tokens": 10,
    }
    return ZeroSearchTokenEnv(**{**defaults, **kwargs})


def write(env, text):
    """Write the tokens of ``text``; what the last step returned."""
    for token in env.setup.encoder.encode(text):
        result = env.step(token)
    return result


def test_observation_has_tokens_roles_and_length_worked_out_by_hand():
    env = make()
    observation, info = env.reset(seed=0)
    prompt = ["question", ":", "where", "was", "ada", "blake", "born", "?"]
    tokens = env.setup.tokenizer.tokens
    padding = env.setup.tokenizer.pad_token_id
    assert [tokens[token] for token in observation["tokens"][:8]] == prompt
    assert (observation["tokens"][8:] == padding).all()
    assert list(observation["roles"]) == [TokenRole.PROMPT] * 8 + [TokenRole.PADDING] * 56
    assert list(observation["length"]) == [8]
    assert {key: value.dtype for key, value in observation.items()} == {
        "tokens": np.int32, "length": np.int32, "roles": np.int8,
    }  # fmt: skip
    assert {*info} == {"question_id", "key", "progress", "noise_probability", "action_mask"}

    written = "<think> need </think> <search> ada </search>".split()
    documents = "<information> doc 1 : jarrow corvale . </information>".split()
    for number, token in enumerate(written, start=1):
        observation, reward, terminated, truncated, info = env.step(
            env.setup.tokenizer.token_id(token)
        )
        assert (reward, terminated, truncated) == (0.0, False, False)
        if number < len(written):
            assert list(observation["length"]) == [8 + number]
            assert {*info} == {"action_mask"}
    # The documents came in the same step.
    assert [tokens[token] for token in observation["tokens"][8:22]] == written + documents
    assert (observation["tokens"][22:] == padding).all()
    assert list(observation["roles"]) == [1] * 8 + [2] * 6 + [3] * 8 + [0] * 42
    assert list(observation["length"]) == [22]
    assert info["query"] == "ada" and info["num_documents"] == 1 and info["turn"] == 1

    observation, reward, terminated, truncated, info = write(env, ANSWER)
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert list(observation["roles"]) == [1] * 8 + [2] * 6 + [3] * 8 + [2] * 7 + [0] * 35
    assert info["answer"] == "jarrow corvale" and info["num_masked"] == 0
    assert observation in env.observation_space


def test_correction_has_its_own_role():
    env = make(masking="vocabulary")
    env.reset(seed=0)
    observation, *_, info = env.step(env.setup.encoder.end_of_text)
    assert info["invalid"] == "there was no search and no answer" and info["num_invalid"] == 1
    length = int(observation["length"][0])
    roles = observation["roles"]
    assert list(roles[:9]) == [1] * 8 + [2]
    assert set(roles[9:length]) == {TokenRole.CORRECTION} and not roles[length:].any()
    assert env.episode.segments[1].text == ""


def test_turn_ends_at_end_of_text_and_when_it_is_full():
    env = make(masking="none", max_turn_tokens=3, context_length=128)
    env.reset(seed=0)
    need = env.setup.tokenizer.token_id("need")
    for token, turns in [(need, 0), (env.setup.encoder.end_of_text, 1)]:
        env.step(token)
        assert env.episode.turn == turns
    for turns in (1, 1, 2):
        env.step(need)
        assert env.episode.turn == turns
    texts = [segment.text for segment in env.episode.segments if segment.role == "policy"]
    assert texts == ["need", "need need need"]


def test_turn_does_not_end_in_an_open_thought():
    env = make(masking="none")
    env.reset(seed=0)
    write(env, "<think><search>ada</search>")
    assert env.episode.turn == 0
    write(env, "</think><search>blake</search>")
    assert env.episode.turn == 1 and env.source.engine.requests[0].query == "blake"


@pytest.mark.parametrize(
    ("context_length", "num_documents", "end"),
    # 8 of the prompt, 6 of the turn, 8 of the documents (6 if of one word), 10 for the next turn
    [(32, 8, False), (31, 7, False), (30, 6, False), (29, 0, True)],
)
def test_full_context_shortens_documents_and_then_truncates(context_length, num_documents, end):
    env = make(context_length=context_length, engine=FixedEngine("Jarrow Corvale ."))
    env.reset(seed=0)
    observation, _, terminated, truncated, info = write(env, SEARCH)
    assert (terminated, truncated) == (False, end)
    assert observation["length"][0] == 14 + num_documents
    assert info.get("context_exceeded", False) == end


def test_context_too_small_is_refused_at_construction_with_the_size_needed():
    with pytest.raises(ValueError, match="need 18 of context, and only 17 is allowed"):
        make(context_length=17)
    make(context_length=18).reset(seed=0)


def test_context_is_measured_by_the_question_with_the_most_tokens():
    """The one with the most characters was taken, and a later reset failed."""
    long = Question("long", "Universities?", ("x",))  # 2 tokens
    many = Question("many", "A, b, c, d?", ("x",))  # 8 tokens
    arguments = {"questions": [long, many], "max_turn_tokens": 5}
    with pytest.raises(ValueError, match="'many' and one turn need 15 of context"):
        make(**arguments, context_length=14)
    make(**arguments, context_length=15).reset(options={"question": "many"})


def test_turn_is_limited_in_characters_too_where_that_is_asked_for():
    turn = "<think> need need need </think>" + ANSWER
    for max_action_chars, num_invalid in ((40, 1), (400, 0)):
        env = make(max_action_chars=max_action_chars, masking="vocabulary", max_turn_tokens=40)
        env.reset(seed=0)
        *_, info = write(env, turn)
        assert info["num_invalid"] == num_invalid


def test_masked_token_is_counted():
    env = make(masking="tags")
    env.reset(seed=0)
    *_, info = write(env, "need" + ANSWER)
    assert info["num_masked"] == 1 and info["f1"] == 1.0
    env.reset()
    *_, info = write(env, ANSWER)
    assert info["num_masked"] == 0


def test_masked_token_is_an_error_that_changes_nothing():
    env = make(masked_action="error")
    before, _ = env.reset(seed=0)
    need = env.setup.tokenizer.token_id("need")
    with pytest.raises(InvalidAction, match=rf"token {need} \('need'\) may not be written here"):
        env.step(need)
    observation = write(env, "<think>")[0]
    assert observation["length"] == before["length"] + 1


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (1176, r"must be in \[0, 1176\), got 1176"),
        (-1, r"must be in \[0, 1176\), got -1"),
        (np.int64(2**40), "must be in"),
        (np.uint64(2**63 + 1), "must be in"),
        (2**70, "must be integers of shape"),
        (1.0, "got float64"),
        (True, "got bool"),
        ("think", "must be integers"),
        (None, "must be integers"),
        ([1, 2], r"of shape \(2,\)"),
        ([], "must be integers of shape"),
    ],
)
def test_action_outside_of_the_space_is_refused(action, message):
    env = make()
    before, _ = env.reset(seed=0)
    with pytest.raises(InvalidAction, match=message):
        env.step(action)
    assert write(env, "<think>")[0]["length"] == before["length"] + 1


@pytest.mark.parametrize("kind", [int, np.int64, np.int32, np.uint8, np.array, lambda i: [i]])
def test_action_of_any_integer_type_is_taken(kind):
    env = make()
    env.reset(seed=0)
    assert env.step(kind(200))[0]["tokens"][8] == 200


def test_step_without_a_running_episode_is_refused():
    env = make()
    for _ in range(2):
        with pytest.raises(ResetNeeded):
            env.step(0)
        env.reset(seed=0)
        write(env, ANSWER)
    with pytest.raises(ResetNeeded, match="there is no episode yet"):
        make().episode  # noqa: B018


def test_engine_defect_leaves_it_to_be_reset():
    """Stepping went on once, with an episode that waited for ever for its documents."""

    class Broken(EchoEngine):
        def search(self, requests):
            raise ConnectionError

    env = make(engine=Broken())
    env.reset(seed=0)
    with pytest.raises(ConnectionError):
        write(env, SEARCH)
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset()
    assert write(env, ANSWER)[2]


def test_engine_failure_truncates():
    env = make(engine=FixedEngine(failure="down"))
    env.reset(seed=0)
    *_, terminated, truncated, info = write(env, SEARCH)
    assert not terminated and truncated
    assert info["search_failed"] and info["failure"] == "down"


def test_what_is_returned_is_fresh_and_may_be_changed():
    changed, untouched = make(), make()
    returned = [changed.reset(seed=0), untouched.reset(seed=0)]
    for token in untouched.setup.encoder.encode(SEARCH + ANSWER):
        for array in (*returned[0][0].values(), returned[0][-1]["action_mask"]):
            array[...] = 1
        changed.action_masks()[...] = True
        returned = [changed.step(token), untouched.step(token)]
        assert data_equivalence(*returned, exact=True)
    assert untouched.episode.terminated


def test_mask_is_built_once_and_cannot_be_changed():
    env = make()
    table = env.setup.masks.table
    env.reset(seed=0)
    write(env, SEARCH + ANSWER)
    env.reset()
    assert env.setup.masks.table is table
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 1


def test_reset_options_are_those_of_the_text_env():
    kwargs = {"noise": "linear", "noise_end": 1.0, "engine": EchoEngine()}
    text, tokens = ZeroSearchEnv(**kwargs), ZeroSearchTokenEnv(**kwargs)
    question = "world-small-0-train-3"
    infos = []
    for env in (text, tokens):
        env.reset(seed=3)
        env.set_progress(0.5)
        infos.append([env.reset()[1], env.reset(options={"progress": 0.75})[1]])
        infos[-1].append(env.reset(options={"question": question, "key": 8})[1])
    for info in infos[1]:
        info.pop("action_mask")
    assert infos[0] == infos[1]
    assert [info["noise_probability"] for info in infos[1]] == [0.5, 0.75, 0.75]
    assert tokens.episode.question.id == question and tokens.episode.key == 8
    with pytest.raises(ValueError, match="unknown reset options speed"):
        tokens.reset(options={"speed": 1})


def test_world_tokenizer_brings_the_prompt_of_its_world():
    tiny, small = ZeroSearchTokenEnv(world_size="tiny"), ZeroSearchTokenEnv()
    assert (
        tiny.source.settings.prompt_template == TINY_PROMPT != small.source.settings.prompt_template
    )
    assert (tiny.action_space.n, small.action_space.n) == (123, 1176)
    other = ZeroSearchTokenEnv(world_size="tiny", prompt_template="{question}")
    assert other.source.settings.prompt_template == "{question}"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"masking": "all"}, ValueError, "`masking` must be one of tags, vocabulary, none"),
        ({"masked_action": "ignore"}, ValueError, "`masked_action` must be one of count, error"),
        ({"max_turn_tokens": 4}, ValueError, "`max_turn_tokens` must be at least 5, got 4"),
        (
            {"max_turn_tokens": 0, "masking": "none"},
            ValueError,
            "`max_turn_tokens` must be at least 1, got 0",
        ),
        ({"context_length": 0}, ValueError, "at least 1"),
        ({"observation": "delta"}, TypeError, "`observation` is an argument of the text env"),
        ({"world_size": "huge"}, ValueError, "`world_size` must be one of"),
    ],
)
def test_wrong_argument_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        ZeroSearchTokenEnv(**arguments)


def test_render_shows_the_turns_taken(capsys):
    env = make(render_mode="ansi")
    env.reset(seed=0)
    write(env, SEARCH)
    assert "jarrow corvale" in env.render().lower() and "ada </search>" in env.render()
    env = make(render_mode="human")
    env.reset(seed=0)
    write(env, SEARCH + ANSWER)
    assert env.render() is None
    printed = capsys.readouterr().out
    assert printed.count("Where was Ada Blake born?") == 1 and "answered: reward 1.00" in printed


def test_pickled_env_still_counts_tokens():
    env = make()
    env.reset(seed=0)
    write(env, "<think>need")
    copy = pickle.loads(pickle.dumps(env))
    assert copy.source.rules == env.source.rules and copy.source.rules.max_context == 64
    assert copy.source.limits.measure("where was ada") == 3
    assert copy.setup.masks.table.tobytes() == env.setup.masks.table.tobytes()
    for token in env.setup.encoder.encode("</think><search>ada</search>"):
        assert data_equivalence(env.step(token), copy.step(token), exact=True)


class CountedEngine(EchoEngine):
    made: list[CountedEngine] = []

    def __init__(self):
        self.made.append(self)


def test_env_has_one_engine():
    """Counting tokens once made the engine, and read the questions, a second time."""
    CountedEngine.made.clear()
    env = make(engine=f"{__name__}:CountedEngine")
    assert CountedEngine.made == [env.source.engine]


SB3_CONFIGURATIONS = [
    {},
    {"world_size": "tiny", "max_turn_tokens": 5, "context_length": 128},
    {"masking": "vocabulary", "tokenizer": ByteTokenizer(), "context_length": 2048},
    {"masking": "none", "engine": "bm25", "reward": "exact_match"},
]


@pytest.mark.parametrize("kwargs", SB3_CONFIGURATIONS)
def test_stable_baselines3_check_env_is_clean(kwargs):
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make("ZeroSearchToken-v1", **kwargs).unwrapped)
        check_env(gym.make("ZeroSearchToken-v1", render_mode="ansi", **kwargs))


@pytest.mark.parametrize("kwargs", SB3_CONFIGURATIONS)
def test_gymnasium_check_env_is_clean_with_any_tokenizer(kwargs):
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(ZeroSearchTokenEnv(**kwargs), skip_render_check=True)


@pytest.mark.filterwarnings("ignore:.*rgb_array:UserWarning")
def test_stable_baselines3_make_vec_env_works():
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_util import make_vec_env

    envs = make_vec_env("ZeroSearchToken-v1", n_envs=2, env_kwargs={"world_size": "tiny"}, seed=3)
    assert set(envs.reset()) == {"tokens", "length", "roles"}
    draw = np.random.default_rng(0)
    ended = 0
    for _ in range(300):
        masks = np.stack(envs.env_method("action_masks"))
        _, _, over, infos = envs.step([draw.choice(np.flatnonzero(mask)) for mask in masks])
        ended += sum(over)
        for i in np.flatnonzero(over):
            assert infos[i]["terminal_observation"] in envs.observation_space
    assert ended > 2


def length_of_answer(prediction, golden_answers):
    """A reward that tells answers apart."""
    return float(len(prediction))


TAGS = [f"<{slash}{name}>" for name in TAG_NAMES for slash in ("", "/")]
PIECES = st.sampled_from(TAGS) | st.sampled_from(vocabulary("tiny"))
TURNS = st.lists(st.lists(PIECES, max_size=12), min_size=1, max_size=4)
SETTINGS = {"noise": "constant", "noise_end": 0.5, "reward": length_of_answer, "max_turns": 4}
PAIRS: dict[str, tuple[ZeroSearchEnv, ZeroSearchTokenEnv]] = {}


def make_pair(name, masking):
    """The text and the token environment, made once."""
    tokenizers = {"world": ("world", 16), "bytes": (ByteTokenizer(), 100)}
    tokenizers |= {"bpe": (bpe_tokenizer(), 40)} if name == "bpe" else {}
    tokenizer, max_turn_tokens = tokenizers[name]
    if (name, masking) not in PAIRS:
        tokens = ZeroSearchTokenEnv(
            tokenizer=tokenizer, masking=masking, max_turn_tokens=max_turn_tokens,
            context_length=8192, **SETTINGS,
        )  # fmt: skip
        PAIRS[name, masking] = ZeroSearchEnv(**SETTINGS), tokens
    return PAIRS[name, masking]


def write_turn(env, text):
    """Write ``text`` and end-of-text, as far as the turn goes; the tokens and the last result."""
    encoder, turn, written = env.setup.encoder, env.episode.turn, []
    masked = 0
    for token in (*encoder.encode(text), encoder.end_of_text):
        masked += not env.action_masks()[token]
        written.append(token)
        result = env.step(token)
        if env.episode.turn > turn:
            return written, masked, result
    raise AssertionError("end-of-text did not end the turn")


@pytest.mark.parametrize(
    ("tokenizer", "masking"),
    [("world", "tags"), *product(["world", "bytes", "bpe"], ["none", "vocabulary"])],
)
@settings(max_examples=60)
@given(turns=TURNS, joint=st.sampled_from(["", " "]), seed=st.integers(0, 50))
def test_text_and_token_env_agree_on_any_policy_text(tokenizer, masking, turns, joint, seed):
    text_env, token_env = make_pair(tokenizer, masking)
    infos = [env.reset(seed=seed)[1] for env in (text_env, token_env)]
    infos[1].pop("action_mask")
    assert infos[0] == infos[1]
    num_masked = 0
    for turn in turns:
        written, masked, result = write_turn(token_env, joint.join(turn))
        num_masked += masked
        decode = token_env.setup.encoder.decode
        prefixes = [written[:length] for length in range(len(written))]
        assert not any(ends_turn(decode(prefix)) for prefix in prefixes), "it ended too late"
        expected = text_env.step(decode(written))
        info = result[4]
        info.pop("action_mask")
        if token_env.episode.finished:
            assert info.pop("num_masked") == num_masked
        assert (*result[1:4], info) == expected[1:]
        assert token_env.episode.transcript == expected[0]
        assert token_env.episode.segments == text_env.episode.segments  # noise labels among them
        if token_env.episode.finished:
            break


def test_bpe_tokenizer_of_the_tests_splits_tags_over_borders():
    """The property above is worth something only if it does."""
    tokenizer = bpe_tokenizer()
    texts = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    assert "><" in texts and "</" in texts
    assert not set(texts) & set(TAGS)
    env = make_pair("bpe", "none")[1]
    env.reset(seed=0)
    written, _, result = write_turn(env, search("a") + answer("b"))
    assert tokenizer.decode(written[-1:]) == "><", "the token that ends the turn reaches past it"
    policy = [segment.text for segment in env.episode.segments if segment.role == "policy"]
    assert policy == [search("a")] and result[4]["query"] == "a"
    assert (result[0]["roles"] == TokenRole.POLICY).sum() == len(written)
