"""The chain of the method: stages run in order, are skipped once done, and go on after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

pytest.importorskip("torch")

from studies.method.chain import MethodConfig, stages_of
from studies.method.report import write_report
from studies.stage import Stage, StageError, run_stages
from zs_env.simulation.fidelity.definitions import FIGURES

MODULE = """
import sys, time, pathlib
name, seconds, status = sys.argv[1], float(sys.argv[2]), pathlib.Path("status")
with open("calls", "a") as file:
    print(name, file=file)
time.sleep(seconds)
print("the last word of", name)
sys.exit(int(status.read_text()) if status.exists() and name == "second" else 0)
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Return the names of the stages that were begun, in order."""
    (tmp_path / "a_stage.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.getcwd()}")
    return lambda: (tmp_path / "calls").read_text().split()


def stage(name, seconds=0.0, **options):
    return Stage(name, f"doing {name}", ("a_stage", name, f"{seconds}"), 60, **options)


SLOW_S = 8.0

GROUPS = [[stage("first")], [stage("second"), stage("third")], [stage("fourth")]]


def test_stages_run_in_order_and_only_once(tmp_path, calls, capsys):
    run_stages(GROUPS, tmp_path)
    assert calls()[0] == "first" and calls()[3] == "fourth" and len(calls()) == 4
    assert "[1/4] doing second and doing third; about 2 minutes left" in capsys.readouterr().out
    run_stages(GROUPS, tmp_path)
    assert len(calls()) == 4
    mark = GROUPS[0][0].done(tmp_path)
    assert mark["command"] == ["a_stage", "first", "0.0"] and mark["seconds"] > 0


def test_a_stage_that_fails_stops_the_chain_which_goes_on_from_there(tmp_path, calls):
    (tmp_path / "status").write_text("3")
    with pytest.raises(StageError, match="second ended with status 3: the last word of second"):
        run_stages(GROUPS, tmp_path)
    assert "fourth" not in calls() and GROUPS[1][0].done(tmp_path) is None
    run_stages([[stage("first")], [stage("second", ends_well=(0, 3))]], tmp_path)
    (tmp_path / "status").unlink()
    run_stages(GROUPS, tmp_path)
    assert calls().count("first") == 1 and calls().count("second") == 2


def test_a_folder_of_other_options_is_refused(tmp_path, calls):
    run_stages([[stage("first")]], tmp_path)
    with pytest.raises(StageError, match=r"first\.json is of another command: a_stage first 0\.0"):
        run_stages([[stage("first", 0.1)]], tmp_path)


def test_a_killed_chain_goes_on_where_it_was_once_its_orphan_has_ended(tmp_path, calls, capsys):
    script = (
        "from pathlib import Path; from tests.test_method import stage, run_stages; "
        f"run_stages([[stage('first')], [stage('slow', {SLOW_S})]], Path({str(tmp_path)!r}))"
    )
    root = os.path.dirname(os.path.dirname(__file__))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        while not (tmp_path / "calls").exists() or "slow" not in calls():
            assert process.poll() is None
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    start = time.monotonic()
    run_stages([[stage("first")], [stage("slow", SLOW_S)]], tmp_path)
    assert calls() == ["first", "slow", "slow"]
    assert "waiting for another program" in capsys.readouterr().out
    assert time.monotonic() - start > SLOW_S, "the orphan was waited for"


def test_stages_of_the_chain_have_names_of_their_own_and_agree_on_the_prompt():
    stages = [each for group in stages_of(MethodConfig()) for each in group]
    assert len({each.name for each in stages}) == len(stages) == 9
    commands = {each.name: " ".join(each.command) for each in stages}
    assert (
        "--template world" in commands["pairs"] and "--hide-answer-from-noisy" in commands["pairs"]
    )
    for name in ("fidelity", "train-simulated"):
        assert "template=world,hide_answer_from_noisy=true,contrast=0.5" in commands[name]
    plain = [each for group in stages_of(MethodConfig(contrast=0.0)) for each in group]
    [fidelity] = [" ".join(each.command) for each in plain if each.name == "fidelity"]
    assert fidelity.count("simulated,") == 1


def test_an_interrupt_has_the_stages_save_and_counts_their_time(tmp_path, calls, monkeypatch):
    sleep = time.sleep

    def interrupted(seconds):
        if "second" in (tmp_path / "calls").read_text():
            sleep(0.2)
            raise KeyboardInterrupt

    (tmp_path / "calls").touch()
    monkeypatch.setattr("studies.stage.time.sleep", interrupted)
    slow = stage("second", 60)
    with pytest.raises(KeyboardInterrupt):
        run_stages([[slow]], tmp_path)
    assert slow.done(tmp_path) is None
    assert "KeyboardInterrupt" in slow.output(tmp_path).read_text()
    assert 0 < json.loads(slow.spent(tmp_path).read_text())["seconds"] < 60


@pytest.mark.parametrize(
    ("options", "message"),
    [({"updates": 0}, "`updates` must be at least 1"), ({"noise_end": 1.5}, "`noise_end` must")],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MethodConfig(**options)


STAGES = ("collect", "judge", "pairs", "tune", "train-simulated", "train-bm25")


def test_report_shows_scores_fidelity_and_searches(tmp_path):
    estimate = {"mean": 0.75, "low": 0.5, "high": 1.0}
    policy = {
        "reward": {1: 0.1, 2: 0.3},
        "sampled_f1": {0: 0.1, 2: 0.3},
        "searches": 300,
        "noisy_share": 0.25,
        "noisy_leak_share": 0.04,
        "f1": {"all": estimate, "1-hop": estimate},
    }
    figures = {name: {"value": 0.5, "interval": [0.4, 0.6]} for name in FIGURES}
    results = {
        "policies": {"simulated": policy, "bm25": policy},
        "fidelity": {
            "columns": [{"name": "bm25", "figures": {}}, {"name": "tuned", "figures": figures}]
        },
        "searches": {
            "simulated": {"real": 45_000, "simulated": 300, "real_usd": 412.5},
            "bm25": {"real": 300, "simulated": 0, "real_usd": 2.75},
        },
        "costs": {name: {"seconds": 61.0, "cpu_seconds": 3600.0} for name in STAGES},
    }
    page = write_report(MethodConfig(tmp_path, seed=3), json.loads(json.dumps(results))).read_text()
    assert "python -m studies.method --seed 3\n" in page
    assert "| the simulation LLM | 0.750 (0.500 – 1.000) | 0.750 (0.500 – 1.000) |" in page
    assert "| noisy searches that give it away |  | 0.500 (0.400 – 0.600) |" in page
    assert "| the simulation LLM | 45,000 | 412.50 | 300 |" in page
    assert "| the simulation LLM | 412.50 | 18,000 | 0.212 | 412.71 |" in page
    assert "| BM25 itself | 2.75 | 3,600 | 0.043 | 2.79 |" in page
    assert "takes 147.79 times what" in page
    assert "25.0% were ordered to be noisy, and 4.0% of these held a golden answer" in page
    assert "![reward](reward.png)" in page and (tmp_path / "sampled_f1.png").is_file()
