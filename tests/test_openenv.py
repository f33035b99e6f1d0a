"""Episodes over OpenEnv, through a real server. `make test-openenv` runs this where it is."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sys
import threading
import urllib.request
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from urllib.error import HTTPError

import gymnasium as gym
import pytest

from tests.helpers import ByteTokenizer, answer, free_port, mixed_policy, program_that_serves
from zs_env.commands.main import main
from zs_env.envs.text_env import ZeroSearchEnv
from zs_env.episodes import EpisodeSource
from zs_env.keyed_random import Stream
from zs_env.settings import TextSettings
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.rollout import rollout

openenv = pytest.importorskip("openenv")

from websockets.asyncio.client import connect  # noqa: E402  (comes with OpenEnv)

from zs_env.adapters.openenv.client import ZeroSearchClient  # noqa: E402
from zs_env.adapters.openenv.environment import (  # noqa: E402
    ServedEpisodes,
    ZeroSearchEnvironment,
)
from zs_env.adapters.openenv.models import ZeroSearchAction, plain  # noqa: E402
from zs_env.adapters.openenv.server import make_app, make_server  # noqa: E402

# Warnings of OpenEnv and of what it imports are not ours to mend.
pytestmark = [pytest.mark.openenv, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).parent.parent
NOISE = {"noise": "constant", "noise_end": 0.5}
FAILING = "tests.helpers:MoodyEngine"
NUM_EPISODES = 400


# A busy machine is no defect.
client_of = partial(ZeroSearchClient, connect_timeout_s=900.0, message_timeout_s=900.0)


def serving(*options):
    """The process of a server and the address that it prints."""
    return program_that_serves(sys.executable, "-m", "zs_env", "serve", "--port", "0", *options)


@contextmanager
def serving_here(**arguments):
    """The address of a server in a thread of this process, which starts sooner."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        server = make_server(make_app(**arguments))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)


@pytest.fixture(scope="module")
def url():
    options = ["--noise", "constant", "--noise-end", "0.5", "--max-sessions", "500"]
    with serving("--engine", FAILING, *options) as (_, url):
        yield url


@cache
def questions():
    return EpisodeSource(TextSettings(), TextSettings().limits)


def turn_of(seed, number, text, question_id):
    """What the policy writes: it follows from seed, turn and text, and is right now and then."""
    if number == 3 and seed % 4 == 0:
        return answer(questions().find(question_id).golden_answers[0])
    return mixed_policy(f"{text} {seed} {number}")


def local_steps(seed, **arguments):
    """All that a trainer gets of the episode of ``seed``, played in this process."""
    env = ZeroSearchEnv(observation="delta", engine=FAILING, **NOISE, **arguments)
    text, info = env.reset(seed=seed)
    asked = info["question_id"]
    steps = [(text, None, False, False, False, plain(info))]
    while not env.episode.finished:
        turn = turn_of(seed, len(steps), text, asked)
        text, reward, terminated, truncated, info = env.step(turn)
        failed = info.get("search_failed", False)
        steps.append((text, reward, terminated, truncated, failed, plain(info)))
    env.close()
    return steps


def step_of(result):
    """The same of what a client returns."""
    seen = result.observation
    assert (result.reward, result.done) == (seen.reward, seen.done)
    assert result.metadata == seen.metadata and seen.done == (seen.terminated or seen.truncated)
    flags = seen.terminated, seen.truncated, seen.search_failed
    return (seen.text, result.reward, *flags, seen.metadata)


async def served_steps(url, seed, **options):
    async with client_of(url) as env:
        result = await env.reset(seed=seed, **options)
        asked = result.metadata["question_id"]
        steps = [step_of(result)]
        while not result.done:
            result = await env.step(turn_of(seed, len(steps), result.observation.text, asked))
            steps.append(step_of(result))
    return steps


def test_concurrent_episodes_are_those_of_the_environment_in_the_process(url):
    """Texts, rewards, noise labels, failed searches, and all of ``info``."""

    async def play():
        return await asyncio.gather(*(served_steps(url, seed) for seed in range(NUM_EPISODES)))

    served = asyncio.run(play())
    assert served == [local_steps(seed) for seed in range(NUM_EPISODES)]
    infos = [step[-1] for steps in served for step in steps]
    assert {info["noisy"] for info in infos if "noisy" in info} == {False, True}
    ends = [steps[-1] for steps in served]
    failed = [end for end in ends if end[4]]
    assert 10 < len(failed) < NUM_EPISODES / 2
    assert all(end[1] == 0.0 and end[5]["failure"] == "no luck" and end[3] for end in failed)
    assert sum(end[2] for end in ends) > 50, "the others answer"
    assert sum(end[1] == 1.0 for end in ends) > 10


def test_session_goes_on_with_its_stream_where_no_seed_is_given(url):
    env = ZeroSearchEnv(observation="delta", engine=FAILING, **NOISE)
    with client_of(url).sync() as client:
        for seed in (3, None, None, 3):
            text, info = env.reset(seed=seed)
            result = client.reset(seed=seed)
            assert (result.observation.text, result.metadata) == (text, plain(info))
    env.close()


def test_sessions_with_the_same_question_and_key_are_a_group(url):
    with client_of(url).sync() as first, client_of(url).sync() as second:
        begun = first.reset(seed=11)
        about = {"question": begun.metadata["question_id"], "key": begun.metadata["key"]}
        again = second.reset(seed=12, **about, noise_probability=0.5)
        assert again.observation.text == begun.observation.text
        query = "<search>birthplace of Ada Blake</search>"
        steps = [step_of(client.step(query)) for client in (first, second)]
        assert steps[0] == steps[1]
        other = second.reset(**{**about, "key": 5})
        assert other.metadata["key"] == 5


def test_reset_options_set_the_noise():
    with serving_here(noise="linear", noise_end=0.8) as url:
        with client_of(url).sync() as env:
            noises = [
                env.reset(**options).metadata["noise_probability"]
                for options in ({}, {"progress": 0.5}, {}, {"noise_probability": 1.0}, {})
            ]
            assert noises == [0.0, 0.4, 0.4, 1.0, 0.4]
            env.reset(noise_probability=1.0)
            assert env.step("<search>birthplace of Ada Blake</search>").metadata["noisy"] is True
            assert env.state().progress == 0.5


def test_progress_follows_from_the_episodes_of_all_sessions():
    """For trainers that send none."""
    source = EpisodeSource(TextSettings(noise="linear", noise_end=1.0), TextSettings().limits)
    episodes = ServedEpisodes(source, total_episodes=4)
    sessions = [ZeroSearchEnvironment(episodes) for _ in range(2)]
    seen = []
    for number in range(6):
        env = sessions[number % 2]
        seen.append(env.reset(seed=number).metadata["noise_probability"])
        assert env.step(ZeroSearchAction(text="<answer>x</answer>")).done
    assert seen == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert sessions[0].reset(progress=0.5).metadata["noise_probability"] == 0.5
    # What a session has sent holds on, and for this session alone.
    assert sessions[0].reset().metadata["noise_probability"] == 0.5
    assert sessions[1].reset().metadata["noise_probability"] == 1.0


def test_observation_can_be_the_transcript():
    with serving_here(observation="transcript", max_turns=2) as url:
        with client_of(url).sync() as env:
            prompt = env.reset(seed=0).observation.text
            text = env.step("I do not know").observation.text
            assert text.startswith(f"{prompt}I do not know\nThat was not valid")
            assert env.step("I do not know").done, "two turns"


def test_state_follows_the_episode(url):
    with client_of(url).sync() as env:
        before = env.state()
        assert (before.episode_id, before.step_count, before.running) == (None, 0, False)
        begun = env.reset(seed=0, episode_id="mine")
        env.step("hm")
        state = env.state()
        assert (state.episode_id, state.step_count, state.running) == ("mine", 1, True)
        assert state.question_id == begun.metadata["question_id"]
        assert state.key == begun.metadata["key"] and state.noise_probability == 0.5
        env.step("<answer>x</answer>")
        assert not env.state().running and env.state().step_count == 2


def test_wrong_use_is_an_error_after_which_the_session_goes_on(url):
    with client_of(url).sync() as env:
        for step in range(2):
            with pytest.raises(RuntimeError, match=r"Call reset\(\) before step\(\): no episode"):
                env.step("<answer>x</answer>")
            env.reset(seed=step)
            assert env.step("<answer>x</answer>").done


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "`seed` must be at least 0, got -1"),
        ({"seed": "one"}, "`seed` must be an integer, got 'one'"),
        ({"noise": 0.5}, "unknown reset options noise"),
        ({"progres": 0.5}, "did you mean 'progress'"),
        ({"progress": 2}, r"`progress` must be a number in \[0, 1\], got 2"),
        ({"noise_probability": "high"}, "`noise_probability` must be a number"),
        ({"question": "none"}, "there is no question with the id 'none'"),
        ({"key": -1}, "`key` must be at least 0, got -1"),
        ({"key": 2**64}, r"`key` must be less than 2\*\*64"),
    ],
)
def test_wrong_reset_option_leaves_the_running_episode_as_it_was(url, options, message):
    with client_of(url).sync() as env:
        begun = env.reset(seed=0)
        with pytest.raises(RuntimeError, match=message):
            env.reset(**options)
        assert env.state().running and env.state().key == begun.metadata["key"]
        assert env.step("<answer>x</answer>").done


@pytest.mark.parametrize("action", [None, 3, {"text": "a"}, b"a"])
def test_action_that_is_no_text_is_refused_by_the_client(url, action):
    with client_of(url).sync() as env:
        env.reset(seed=0)
        with pytest.raises(TypeError, match="an action must be a str, the text of one turn, got"):
            env.step(action)
        assert env.step(ZeroSearchAction(text="<answer>x</answer>")).done


def test_text_that_json_cannot_hold_is_mended():
    """Half of a surrogate pair, as a tokenizer of bytes may cut it."""
    env = ZeroSearchClient("http://127.0.0.1:9")
    assert env._step_payload("a\ud800b 🙂") == {"text": "a?b 🙂"}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "step", "data": {"txt": "a"}}, "VALIDATION_ERROR"),
        ({"type": "step", "data": {"text": 3}}, "VALIDATION_ERROR"),
        ({"type": "step", "data": {"text": "a", "more": 1}}, "VALIDATION_ERROR"),
        ({"type": "step"}, "VALIDATION_ERROR"),
        ({"type": "fly"}, "UNKNOWN_TYPE"),
        ("{", "INVALID_JSON"),
    ],
)
def test_malformed_message_is_answered_and_changes_nothing(url, message, code):
    async def talk():
        async with connect(f"{url.replace('http', 'ws')}/ws") as socket:

            async def ask(message):
                await socket.send(message if isinstance(message, str) else json.dumps(message))
                return json.loads(await socket.recv())

            assert (await ask({"type": "reset", "data": {"seed": 0}}))["type"] == "observation"
            reply = await ask(message)
            assert reply["type"] == "error" and reply["data"]["code"] == code
            reply = await ask({"type": "step", "data": {"text": "<answer>x</answer>"}})
            assert reply["data"]["done"] is True

    asyncio.run(talk())


def test_sessions_are_limited_and_their_places_come_free():
    """Also that of a client that leaves in the middle of an episode without a word."""
    with serving_here(max_sessions=2) as url:

        async def leave():
            async with connect(f"{url.replace('http', 'ws')}/ws") as socket:
                await socket.send('{"type": "reset"}')
                await socket.recv()
                socket.transport.abort()

        for _ in range(3):
            asyncio.run(leave())
        with client_of(url).sync() as first, client_of(url).sync() as second:
            first.reset()
            second.reset()
            third = client_of(url).sync()
            with pytest.raises(RuntimeError, match="CAPACITY_REACHED"):
                third.reset()
            third.close()
            assert first.step("<answer>x</answer>").done
        with client_of(url).sync() as env:
            assert not env.reset().done


def test_plain_http_says_that_an_episode_needs_a_session(url):
    body = json.dumps({"action": {"text": "a"}}).encode()
    request = urllib.request.Request(
        f"{url}/step", body, headers={"Content-Type": "application/json"}
    )
    with pytest.raises(HTTPError) as error:
        urllib.request.urlopen(request, timeout=60)
    assert error.value.status == 400
    assert "An episode needs a session: connect to /ws." in json.load(error.value)["error"]
    for path in ("health", "state", "schema", "metadata"):
        with urllib.request.urlopen(f"{url}/{path}", timeout=60) as response:
            assert json.load(response)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "worlds"], "`engine` must be one of world, bm25"),
        (["--questions", "missing.jsonl"], "missing.jsonl: there is no such file"),
        (["--noise-end", "2"], "the noise schedule's `end` must be a number in [0, 1], got 2.0"),
        (["--max-turns", "1"], "`max_turns` must be at least 2, got 1"),
        (["--port", "70000"], "`port` must be from 0 to 65535"),
        (["--host", "256.0.0.1"], "256.0.0.1"),
    ],
)
def test_wrong_option_of_the_command_is_one_line(options, message):
    with pytest.raises(SystemExit) as end:
        main(["serve", "--port", "0", *options])
    assert str(end.value).startswith("error: ") and message in str(end.value)


def test_port_in_use_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(SystemExit, match="error: .*ddress already in use"):
            main(["serve", "--port", str(taken.getsockname()[1])])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_server_ends_when_it_is_told_to_with_sessions_open(number):
    with serving() as (process, url):
        env = client_of(url).sync()
        env.reset(seed=0)
        process.send_signal(number)
        assert process.wait(timeout=60) in (-number, 128 + number)
        assert "Traceback" not in process.stderr.read()
        env.close()


def test_server_that_is_not_there_is_one_clear_error():
    with pytest.raises(ConnectionError, match=r"Failed to connect to ws://127\.0\.0\.1"):
        client_of(f"http://127.0.0.1:{free_port()}").sync().reset()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_sessions": 0}, ValueError, "`max_sessions` must be at least 1"),
        ({"total_episodes": 0}, ValueError, "`total_episodes` must be at least 1"),
        ({"max_turn": 3}, TypeError, "did you mean 'max_turns'"),
        ({"num_envs": 3}, TypeError, "is an argument of the vector environments"),
    ],
)
def test_wrong_argument_of_the_application_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        make_app(**options)


def write_turn(context, encoder):
    """The tokens of a turn, as a sampler that stops at tags gives them."""
    text = Stream("turn", *context).choice(
        [
            "<think>hm</think><search>birthplace of Ada Blake</search>",
            "<search>where</search>",
            "<answer>Jarrow Corvale</answer>",
            "<answer>London</answer>",
            "I do not know",
        ]
    )
    ids = list(encoder.encode(text))
    return ids if text.endswith(">") else [*ids, encoder.end_of_text]


async def tokens_through(env, seed, encoder):
    """What a trainer of tokens makes of an episode: it encodes what the environment adds."""
    result = await env.reset(seed=seed)
    prompt = list(encoder.encode(result.observation.text))
    ids, mask, noisy = [], [], []
    while not result.done:
        turn = write_turn([*prompt, *ids], encoder)
        result = await env.step(encoder.decode(turn))
        added = list(encoder.encode(result.observation.text)) if not result.done else []
        ids += [*turn, *added]
        mask += [True] * len(turn) + [False] * len(added)
        noisy += [result.metadata["noisy"]] if "noisy" in result.metadata else []
    return prompt, ids, mask, result.reward, noisy, result.observation.search_failed


def test_trainer_of_tokens_gets_the_ids_masks_rewards_and_labels_of_rollout(url):
    """Deltas are encoded one by one, as `rollout` encodes them, and policy tokens are kept."""
    encoder = TextEncoder(ByteTokenizer())
    settings = TextSettings(engine=FAILING, **NOISE)
    source = EpisodeSource(settings, settings.limits)
    env = gym.make("ZeroSearch-v0", engine=FAILING, **NOISE).unwrapped

    async def sample(token_ids, stop, max_tokens):
        ids = write_turn(token_ids, encoder)
        return ids, [0.0] * len(ids)

    async def play():
        ends = set()
        for seed in range(40):
            env.reset(seed=seed)
            split = (
                trajectory := await rollout(env.episode, source.engine, sample, encoder)
            ).split()
            labels = [search.noisy for search in trajectory.searches]
            async with client_of(url) as client:
                found = await tokens_through(client, seed, encoder)
            assert found == (
                split.prompt_ids.tolist(),
                split.response_ids.tolist(),
                split.response_mask.tolist(),
                trajectory.reward,
                labels,
                trajectory.search_failed,
            )
            ends.add(trajectory.termination)
        assert len(ends) == 3, "answered, out of turns, and a search failed"

    asyncio.run(play())


def test_code_of_the_page_runs(capsys):
    page = (ROOT / "docs" / "openenv.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    with serving_here(noise_end=0.75) as here:
        exec(compile(code.replace("http://127.0.0.1:8000", here), "openenv.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "<information>" in shown and re.fullmatch(r"True [\d.]+ False", shown.splitlines()[-1])
