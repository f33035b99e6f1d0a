"""The report on runs of the setting for comparisons."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from benchmarks import instrument

NAME = "test/world,mixture=natural/sampled/f1"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs, of which the second took twice the time; what is judged at the end is left out."""
    for seed in (0, 1):
        took = {"time/update": 2.0 * (seed + 1), "time/evaluation": 10.0 * (seed + 1)}
        write(tmp_path, seed, [{"update": 0, NAME: 0.2, "time/evaluation": 0.0},
                               {"update": 1, "time/update": 1.0},
                               {"update": 2, NAME: 0.4 + 0.2 * seed, **took}])  # fmt: skip
    monkeypatch.setattr(instrument, "judge", judged)
    return tmp_path


def judged(target, noise, *, greedy):
    """Return 0.5, but 0.1 or 0.3 less for documents in the loss."""
    assert not greedy
    return {"f1": {"documents-0": 0.4, "documents-1": 0.2}.get(target.name, 0.5)}


def write(folder, seed, lines, variant="masked"):
    target = instrument.run_folder(folder, variant, seed)
    target.mkdir(exist_ok=True)
    (target / "config.json").write_text(json.dumps({"test_engines": ["world,mixture=natural"]}))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (target / "metrics.jsonl").write_text(text)


def test_seconds_of_a_run_are_those_of_updates_and_evaluations(runs, capsys):
    """Those of evaluations were left out: half of a run."""
    instrument.report(runs, ("masked",), (0, 1))
    assert "  masked     0: 0.200  2: 0.500   19 s\n" in capsys.readouterr().out


def test_differences_are_paired_by_seed(runs, capsys):
    """Mean -0.2, standard error 0.1; Student's t with one degree of freedom is 12.706."""
    for seed in (0, 1):
        write(runs, seed, [{"update": 0, NAME: 0.2}], "documents")
    instrument.report(runs, ("masked", "documents"), (0, 1))
    out = capsys.readouterr().out
    assert "  difference -0.200 (-1.471 to +1.071)   (-0.100, -0.300)\n" in out


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"update": 0, NAME: 0.2}], "masked-1 was evaluated after the updates 0, and .*masked-0 "
                                     "after 0, 2: call `run` until"),
        ([{"update": 2, "time/update": 1.0}], f"masked-1 has no evaluation with {NAME}:"),
    ],
)  # fmt: skip
def test_runs_that_have_not_ended_are_refused(runs, lines, message):
    """Their mean was taken as if the missing figures were 0."""
    write(runs, 1, lines)
    with pytest.raises(SystemExit, match=message):
        instrument.report(runs, ("masked",), (0, 1))
