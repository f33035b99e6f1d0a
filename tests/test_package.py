"""What a newcomer does first: import, run the examples. The README is in test_docs."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import zs_env

ROOT = Path(__file__).parent.parent


def run(*command, stdin=""):
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-W", "error", *command],
        input=stdin, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=600,
    )  # fmt: skip


def test_import_needs_numpy_and_gymnasium_only():
    optional = ["torch", "bm25s", "aiohttp", "pyarrow", "datasets", "transformers"]
    optional += ["pytest", "hypothesis"]
    block = f"import sys; sys.modules.update(dict.fromkeys({optional}))"
    code = f"{block}; import gymnasium, zs_env; gymnasium.make('ZeroSearch-v0').reset(seed=0)"
    result = run("-c", code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("package", "use", "extra"),
    [
        ("bm25s", "gymnasium.make('ZeroSearch-v0', engine='bm25')", "bm25"),
        ("aiohttp", "import zs_env.engines.retrieval_server", "http"),
        ("aiohttp", "import zs_env.engines.google", "http"),
        ("aiohttp", "import zs_env.llm.openai_api", "http"),
        ("pyarrow", "zs_env.question_sources.load_questions(PATH)", "data"),
        ("openenv", "import zs_env.adapters.openenv.server", "openenv"),
        ("openenv", "import zs_env.adapters.openenv.client", "openenv"),
    ],
)
def test_missing_extra_is_named(package, use, extra, tmp_path):
    (tmp_path / "q.parquet").write_bytes(b"")
    code = (
        f"import sys; sys.modules[{package!r}] = None; import gymnasium, zs_env.question_sources; "
        f"PATH = {str(tmp_path / 'q.parquet')!r}; {use}"
    )
    result = run("-c", code)
    assert "MissingDependencyError" in result.stderr
    assert f"pip install '.[{extra}]'" in result.stderr


def test_command_without_its_extra_is_one_line():
    block = "import sys; sys.modules['openenv'] = None"
    result = run("-c", f"{block}; from zs_env.commands.main import main; main(['serve'])")
    assert result.returncode == 1 and result.stderr.startswith(
        "error: The adapter to OpenEnv needs"
    )
    assert result.stderr.count("\n") == 1 and "'.[openenv]'" in result.stderr


def test_adapters_are_imported_by_nothing_and_can_be_removed(tmp_path):
    unwanted = shutil.ignore_patterns("adapters", "__pycache__")
    shutil.copytree(ROOT / "zs_env", tmp_path / "zs_env", ignore=unwanted)
    code = """
import gymnasium, sys, zs_env
from zs_env.commands.main import main
assert zs_env.__file__.startswith(sys.argv[1])
gymnasium.make("ZeroSearch-v0").reset(seed=0)
main(["search", "birthplace of Ada Blake"])
try:
    main(["serve", "--help"])
except SystemExit as end:
    assert not end.code
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        capture_output=True, text=True, cwd=tmp_path, timeout=600,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "Doc 1: " in result.stdout and "--max-sessions" in result.stdout
    code = "import sys, zs_env; print([name for name in sys.modules if 'adapters' in name])"
    assert run("-c", code).stdout == "[]\n"


def test_public_names_exist_and_version_agrees():
    assert all(hasattr(zs_env, name) for name in zs_env.__all__)
    assert importlib.metadata.version("zs-env") == zs_env.__version__


def test_example_custom_algorithm_trains(tmp_path):
    options = ["--updates", "1", "--questions-per-update", "4", "--num-test-questions", "8"]
    options += ["--test-engines", "world"]
    result = run("-m", "examples.custom_algorithm", "--folder", str(tmp_path / "run"), *options)
    assert result.returncode == 0, result.stderr
    assert "| world | F1 |" in result.stdout


def test_example_quickstart_solves_its_questions():
    result = run("-m", "examples.quickstart")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("[answered: reward 1.00") == 3
    assert "mean reward 1.00 over 3 episodes" in result.stdout


def test_example_many_episodes_solves_them():
    result = run("-m", "examples.many_episodes", "--episodes", "64")
    assert result.returncode == 0, result.stderr
    assert "mean reward 1.00, 0 with a search that failed" in result.stdout


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("rival of Ada Blake\n= Lima\n", r"\[answered: reward 0.00, 1 search"),
        ("<answer>Lima</answer>\n", r"\[answered: reward 0.00, 0 searches"),
        ("", "bye"),
        ("a\nb\nc\nd\ne\n", r"\[truncated: no turns left, 4 searches"),
    ],
)
def test_example_play_takes_queries_and_answers(typed, expected):
    result = run("-m", "examples.play", "--seed", "1", stdin=typed)
    assert result.returncode == 0, result.stderr
    assert re.search(expected, result.stdout)


@pytest.mark.parametrize("example", ["quickstart", "play", "many_episodes"])
def test_example_help_explains(example):
    result = run("-m", f"examples.{example}", "--help")
    assert result.returncode == 0 and "--engine" in result.stdout


def test_examples_are_short():
    for path in (ROOT / "examples").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 80, path.name
