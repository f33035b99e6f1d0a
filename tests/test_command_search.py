"""``zs-env search``."""

from __future__ import annotations

import pytest

from benchmarks.chat_server import MODEL, ChatServer, good, running
from zs_env.commands.main import main


def test_search_prints_what_a_policy_would_read(capsys):
    main(["search", "birthplace of Ada Blake", "--top-k", "3"])
    out, err = capsys.readouterr()
    assert out.startswith("<information>\nDoc 1: ") and out.endswith("\n</information>\n")
    assert out.count("\nDoc ") == 3
    assert err.startswith("3 documents in ")


def test_search_tells_a_simulated_engine_all_that_is_given(capsys):
    seen = []
    server = ChatServer(lambda body, attempt: seen.append(body) or good(body))
    with running(server.app()) as url:
        options = [f"base_url={url}/v1", f"model={MODEL}", "temperature=0.25", "timeout_s=5"]
        main(
            ["search", "--engine", ",".join(["simulated", *options])]
            + ["--question", "Which sea?", "--answer", "Pale Sea", "--answer", "the sea"]
            + ["--noisy", "--key", "4", "longest <search> river"]
        )
    out, err = capsys.readouterr()
    [body] = seen
    prompt = body["messages"][0]["content"]
    assert (
        "Query: longest [search] river\nQuestion: Which sea?\nAnswer: Pale Sea; the sea" in prompt
    )
    assert "noisy" in prompt and body["temperature"] == 0.25
    assert out.count("says so") == 5
    assert "1 searches (0 failed), 1 completions" in err and "USD" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "altavista", "q"], "error: `engine` must be one of world, bm25"),
        ([" \n"], r"error: the query must hold at least one word, got ' \\n'"),
        (["--engine", "world,k", "q"], "error: `engine` must be written as name,option=value, got"),
        (["--engine", "world,k=1", "q"], "error: wrong options for engine 'world': 'k' is unknown"),
        (["--engine", "retrieval,url=http://127.0.0.1:9,max_attempts=1", "q"],
         "error: no retrieval server: http://127.0.0.1:9: "),
    ],
)  # fmt: skip
def test_search_error_is_one_line(arguments, message):
    with pytest.raises(SystemExit, match=message) as caught:
        main(["search", *arguments])
    assert "\n" not in str(caught.value)


def test_search_says_that_a_real_engine_ignores_noise(capsys):
    main(["search", "--engine", "bm25", "--noisy", "Ada"])
    assert "bm25 is a real engine and ignores --noisy" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--top-k", "0", "q"], ["--top-k", "x", "q"], []])
def test_search_wrong_usage_is_explained(arguments, capsys):
    with pytest.raises(SystemExit):
        main(["search", *arguments])
    assert "usage: zs-env search" in capsys.readouterr().err
