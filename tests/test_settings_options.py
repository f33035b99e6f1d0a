"""Settings of an environment as arguments of a command."""

from __future__ import annotations

import argparse
from dataclasses import fields

import pytest

from zs_env.commands.settings_options import add_settings_arguments, given_settings
from zs_env.settings import TextSettings


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    add_settings_arguments(parser, TextSettings, observation="delta")
    return parser


def test_every_setting_is_an_argument_with_its_documentation(parser):
    shown = " ".join(parser.format_help().split())
    for declared in fields(TextSettings):
        assert f"--{declared.name.replace('_', '-')} " in shown
    assert "turns of an episode; the answer's turn counts. Default: 5." in shown
    assert "Default: delta." in shown and "Default: transcript." not in shown
    assert "Default: prompts.PROMPT." in shown


def test_arguments_become_settings_of_their_types(parser, tmp_path):
    (tmp_path / "prompt.txt").write_text("Q: {question}\n")
    given = "--max-turns 3 --noise-end 0.25 --reward exact_match --engine bm25,corpus=a.jsonl"
    options = parser.parse_args([*given.split(), "--prompt-template", f"{tmp_path}/prompt.txt"])
    assert given_settings(options, TextSettings) == {
        "max_turns": 3,
        "noise_end": 0.25,
        "reward": "exact_match",
        "engine": "bm25,corpus=a.jsonl",
        "prompt_template": "Q: {question}\n",
    }
    assert given_settings(parser.parse_args([]), TextSettings) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--noise", "loud"], "invalid choice: 'loud'"),
        (["--reward", "x"], "invalid choice: 'x'"),
        (["--max-turns", "many"], "invalid int value: 'many'"),
    ],
)
def test_argument_of_a_wrong_type_is_refused(parser, arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(arguments)
    assert message in capsys.readouterr().err
