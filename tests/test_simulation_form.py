"""The benchmark of simulated documents: its shares by hand, and one whole run."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import simulation_form
from benchmarks.simulation_form import in_form, with_answer
from zs_env import Document, SearchFailure, SearchRequest, SearchResult
from zs_env.evaluation.share import Share


@pytest.mark.parametrize(
    ("share", "low", "high"),
    [
        # By hand: (0.8 + 1.92 / 10 ± 1.96 sqrt(0.16 / 10 + 0.96 / 100)) / (1 + 3.84 / 10).
        (Share(8, 10), 0.490, 0.943),
        (Share(0, 10), 0.0, 0.278),
        (Share(200, 200), 0.981, 1.0),
        (Share(0, 0), 0.0, 1.0),
    ],
)
def test_interval_of_a_share_is_wilson_s(share, low, high):
    assert share.interval() == pytest.approx((low, high), abs=5e-4)


def test_share_is_shown_with_its_interval():
    assert str(Share(8, 10)) == "80% (49% – 94%)"
    assert str(Share(0, 0)) == "–"


def searched(noisy, *texts):
    request = SearchRequest("q", "?", ("the Pale Sea",), noisy=noisy, top_k=2)
    documents = tuple(Document(text) for text in texts)
    failure = None if texts else SearchFailure("wrote no line")
    return request, SearchResult(documents, failure)


def test_shares_count_searches_and_documents():
    searches = [
        searched(False, "It reaches the pale sea.", "A lake."),
        searched(False, "Pale seas."),
        searched(True, "A sea.", "Pale Sea"),
        searched(True),
    ]
    assert in_form(searches, 1) == (3, 4)
    assert in_form(searches, 2) == (2, 4)
    assert with_answer(searches, noisy=False) == (1, 3)
    assert with_answer(searches, noisy=True) == (1, 2)


def talk_at_first(request):
    """Documents only where the answer is begun or held; useful ones state the answer."""
    said = "Paris" if " useful " in request.messages[0].content else "Rome"
    if request.grammar is not None and request.grammar.kind == "json":
        return json.dumps({"documents": [said] * 2})
    start = "" if request.prefill else "Doc 1:"
    return f"{start} {said}\nDoc 2: {said}" if request.prefill or request.grammar else "Well."


def test_whole_run_prints_a_row_for_each_variant(tmp_path, monkeypatch, capsys):
    questions = tmp_path / "questions.jsonl"
    rows = [{"question": f"q{i}", "answers": ["Paris"]} for i in range(3)]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = "simulated,llm=scripted,script=tests.test_simulation_form:talk_at_first"
    arguments = ["--questions", str(questions), "--engine", engine]
    arguments += ["--num-questions", "3", "--top-k", "2"]
    monkeypatch.setattr(sys, "argv", ["simulation_form", *arguments])
    simulation_form.main()
    rows = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    shares = {row[0].strip(): [cell.split()[0] for cell in row[1:]] for row in rows}
    assert shares.pop("plain") == ["0%", "0%", "100%", "–", "–", "2"]
    assert list(shares) == ["prefill", "regex", "prefill+regex", "json"]
    assert all(row[:5] == ["100%", "100%", "0%", "100%", "0%"] for row in shares.values())
