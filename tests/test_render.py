"""Transcripts for human eyes."""

from __future__ import annotations

import re

import pytest

from tests.helpers import FixedEngine, answer, search
from zs_env import Document, SearchEngine, SearchResult
from zs_env.envs.text_env import ZeroSearchEnv
from zs_env.envs.token_env import ZeroSearchTokenEnv

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def test_render_ansi_is_the_transcript_in_colour():
    env = ZeroSearchEnv(engine=FixedEngine("Lima"), render_mode="ansi")
    observation, _ = env.reset(seed=0)
    assert env.render() == observation
    observation = env.step(search("a"))[0]
    assert COLOUR.sub("", env.render()) == observation
    assert "\x1b[32m<think>" in env.render() and "\x1b[36m\n<information>" in env.render()
    observation = env.step(answer("b"))[0]
    text = COLOUR.sub("", env.render())
    assert text.startswith(observation)
    assert re.search(r"\[answered: reward 0.00, 1 search, golden answer: .+\]", text)


def test_render_noisy_documents_stand_out():
    env = ZeroSearchEnv(
        engine=FixedEngine("x"), render_mode="ansi", noise="constant", noise_end=1.0
    )
    env.reset(seed=0)
    env.step(search("a"))
    assert "\x1b[35m\n<information>" in env.render()


def test_render_human_prints_each_piece_once(capsys):
    env = ZeroSearchEnv(engine=FixedEngine("Lima"), render_mode="human")
    env.reset(seed=0)
    env.step(search("a"))
    assert env.render() is None
    observation = env.step(answer("b"))[0]
    printed = capsys.readouterr().out
    assert printed.startswith(observation) and printed.count("<information>\n") == 1
    env.reset()
    assert "Question: " in capsys.readouterr().out


class Failing(SearchEngine):
    def search(self, requests):
        from zs_env import SearchFailure

        raise SearchFailure("down")


@pytest.mark.parametrize(
    ("engine", "kwargs", "why"),
    [
        (Failing(), {}, "the search failed"),
        (FixedEngine("x"), {"max_turns": 2}, "no turns left"),
        (FixedEngine("x"), {"max_context_chars": 4800}, "the context is full"),
    ],
)
def test_render_truncated_episode_says_why(engine, kwargs, why):
    env = ZeroSearchEnv(engine=engine, render_mode="ansi", **kwargs)
    env.reset(seed=0)
    truncated = False
    while not truncated:
        truncated = env.step(search("a" * 40))[3]
    assert f"[truncated: {why}," in env.render()


def test_render_hostile_text_cannot_control_the_terminal():
    class Hostile(SearchEngine):
        def search(self, requests):
            return [SearchResult((Document("\x1b[2Jx"),))] * len(requests)

    env = ZeroSearchEnv(engine=Hostile(), render_mode="ansi")
    env.reset(seed=0)
    env.step("\x1b[2J\x07" + search("a"))
    assert "\x1b[2J" not in env.render() and "\x07" not in env.render()
    env.step("\t\u200b" + search("b"))
    assert "\t\ufffd<think>hm</think><search>b</search>" in env.render(), "tags stay as they are"


@pytest.mark.parametrize("env_class", [ZeroSearchEnv, ZeroSearchTokenEnv])
def test_render_without_a_mode_warns(env_class):
    env = env_class()
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="without a render mode"):
        assert env.render() is None
