"""The command line."""

from __future__ import annotations

import configparser
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from zs_env.commands.main import main
from zs_env.engines import load_engine

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], ["usage: zs-env", "index", "serve-retrieval"]),
        (["index", "--help"], ["usage: zs-env index", "--corpus FILE", "--index FOLDER"]),
        (["serve-retrieval", "--help"], ["--top-k N", "default: 127.0.0.1", "default: 8000"]),
    ],
)
def test_cli_help_explains(arguments, expected, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    text = " ".join(capsys.readouterr().out.split())
    assert all(words in text for words in expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["index", "--corpus", "c.jsonl"], "the following arguments are required: --index"),
        (["serve-retrieval", "--port", "web"], "invalid int value: 'web'"),
    ],
)
def test_cli_wrong_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


def test_cli_index_builds_what_the_engine_opens(tmp_path, capsys):
    corpus, folder = tmp_path / "c.jsonl", tmp_path / "index"
    corpus.write_text("\n".join(json.dumps({"text": f"word{i}"}) for i in range(1200)))
    main(["index", "--corpus", str(corpus), "--index", str(folder)])
    assert capsys.readouterr().out == f"{folder}: the index of 1,200 passages of {corpus}\n"
    built = (folder / "manifest.json").stat()
    [found] = load_engine({"name": corpus, "index": folder}).rank("word77", 5)
    assert found.passage.id == "77"
    assert (folder / "manifest.json").stat() == built


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "--corpus", "no.jsonl", "--index", "i"], "error: no.jsonl: there is no such"),
        (["serve-retrieval", "--index", "i"], "error: `index` is of a `corpus`, got 'i' and no"),
        (["serve-retrieval", "--engine", "world", "--corpus", "c"], "error: --corpus and --engine"),
        (["serve-retrieval", "--engine", "worlds"], "error: `engine` must be one of world, bm25"),
        (["serve-retrieval", "--noise", "2"], "error: `noise_probability` must be a number in [0"),
        (["serve-retrieval", "--top-k", "0"], "error: `topk` must be an integer from 1"),
        (["serve-retrieval", "--host", ""], "error: `host` must be an address or a name"),
        (["serve-retrieval", "--port", "99999"], "error: `port` must be from 0 to 65535"),
        (["serve-retrieval", "--port", "-1"], "error: `port` must be from 0 to 65535"),
    ],
)
def test_cli_error_is_one_line(arguments, message):
    command = [sys.executable, "-W", "error", "-m", "zs_env", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(message) and result.stderr.count("\n") == 1


def test_cli_interrupt_is_no_traceback(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("zs_env.engines.bm25.load", interrupted)
    with pytest.raises(SystemExit, match="130"):
        main(["index", "--corpus", "c.jsonl", "--index", "i"])


def test_cli_is_installed_as_a_program():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    [line] = config["options.entry_points"]["console_scripts"].split("\n")[1:]
    name, _, target = line.partition(" = ")
    module, _, function = target.partition(":")
    assert name == "zs-env" and getattr(importlib.import_module(module), function) is main
