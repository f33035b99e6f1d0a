"""Progress of a run."""

from __future__ import annotations

import io

import pytest

from tests.evaluation_records import make_failure, make_record, make_search
from zs_env.evaluation import progress as module
from zs_env.evaluation.progress import LINE_S, Progress
from zs_env.evaluation.summary import Prices


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def right(name, **fields):
    scores = {"f1": 0.5, "exact_match": 1.0}
    return make_record(name, scores=scores, prompt_tokens=1000, completion_tokens=500, **fields)


def test_line_holds_scores_of_what_did_not_fail_tokens_cost_and_the_time_left(clock):
    kept = [right("kept", searches=(make_search("x"), make_search("y")))]
    progress = Progress(8, kept, Prices(prompt=1000.0, search=0.5), io.StringIO())
    clock.now += 4
    progress.add(make_failure("f", scores={}))
    progress.add(right("q"))
    # Two in four seconds, five to go.
    assert progress.line() == (
        "[#########...............] 3/8  F1 0.500  EM 1.000  failed 1  3,000 tokens  2 searches  "
        "cost 3.00  0.5/s  0:10 left"
    )
    assert "cost" not in Progress(8, kept, None, io.StringIO()).line()


@pytest.mark.parametrize(
    ("total", "left"), [(2, "0:01"), (61, "1:00"), (3601, "1:00:00"), (40_000, "11:06:39")]
)
def test_time_left(clock, total, left):
    progress = Progress(total, output=io.StringIO())
    clock.now += 1
    progress.add(right("q"))
    assert progress.line().endswith(f"1.0/s  {left} left")


def test_file_gets_a_line_now_and_then_and_the_last(clock):
    output = io.StringIO()
    progress = Progress(100, output=output)
    for number in range(40):
        clock.now += 1
        progress.add(right(f"q{number}"))
    assert [line.split()[1] for line in output.getvalue().splitlines()] == ["15/100", "30/100"]
    progress.close()
    assert output.getvalue().splitlines()[-1].split()[1] == "40/100"
    assert "\r" not in output.getvalue() and output.getvalue().endswith("left\n")
    assert LINE_S == 15


def test_terminal_gets_one_line_that_covers_what_was_there(clock):
    """What was left of a longer line stayed on the terminal."""
    output = Terminal()
    progress = Progress(5, output=output)
    clock.now += 36_000
    progress.add(make_record("slow"))
    progress.add(make_record("too soon to be shown"))
    clock.now += 1
    progress.add(make_record("q2"))
    progress.add(make_record("q3"))
    progress.add(make_record("q4"))
    progress.close()
    first, second, last = output.getvalue().removeprefix("\r").removesuffix("\n").split("\r")
    assert first.endswith(" 40:00:00 left") and second.endswith(" 6:40:00 left ")
    assert last.endswith(" 0:00 left   ") and "5/5" in last
    assert len(first) == len(second) == len(last) + 1
    assert output.getvalue().endswith("\n") and output.getvalue().count("\n") == 1


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_run_with_nothing_to_do_prints_nothing(clock, kind):
    output = kind()
    progress = Progress(1, [right("q")], output=output)
    progress.close()
    assert output.getvalue() == "" and "1/1" in progress.line()
    assert "0/0" in Progress(0, output=output).line()
