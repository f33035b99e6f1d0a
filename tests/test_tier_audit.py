"""The audit of the tiers of world-v1."""

from __future__ import annotations

import pytest

from benchmarks import tier_audit, world_audit
from benchmarks.tier_audit import AGENTS, BLIND, Figure, Limit, audit, audit_tier
from zs_env.evaluation.benchmarks import WORLD_V1
from zs_env.evaluation.options import PlayOptions


@pytest.fixture(autouse=True)
def few_questions(monkeypatch):
    monkeypatch.setattr(tier_audit, "NUM_QUESTIONS", 10)
    monkeypatch.setattr(tier_audit, "AGENTS", {name: {} for name in AGENTS})
    monkeypatch.setattr(tier_audit, "BLIND", {})


def test_documents_of_the_easy_tier_state_what_is_asked_and_no_more():
    figures = list(audit_tier(WORLD_V1.tiers[0], seed=5))
    assert [figure.share for figure in figures] == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert all(figure.holds and figure.total > 400 for figure in figures)


def test_audit_of_several_worlds_says_which_limits_fail(monkeypatch, capsys):
    monkeypatch.setitem(tier_audit.AGENTS, "standard", {"solver": Limit(0.9)})
    assert audit(["standard"], [5, 6])
    monkeypatch.setitem(tier_audit.AGENTS, "standard", {"solver": Limit(0, 0.5)})
    assert not audit(["standard"], [5, 6])
    out = capsys.readouterr().out
    assert out.count("holds; solver 1.000") == 2 and "world seed 6: fails; solver 1.000" in out
    assert out.count("F1 of solver") == 2 and out.count("<= 50%    of 10   FAILS") == 2


@pytest.mark.parametrize("hold", [True, False])
def test_limits_of_the_readers_count(monkeypatch, hold):
    """They were printed, and the program ended with status 0 all the same."""
    monkeypatch.setattr(tier_audit, "audit_tier", lambda tier, seed: [])
    monkeypatch.setattr(tier_audit, "print_readers", lambda *arguments: hold)
    assert audit(["hard"], [5]) == hold


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "hard"], "give --tier hard"),
        (["--readers", "--size", "tiny"], "words that the tiny world lacks"),
    ],
)
def test_audit_of_a_world_without_limits_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        world_audit.main(arguments)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_readers_that_lack_a_skill_are_shown_kind_by_kind(monkeypatch):
    """A coin is right about half of all comparisons, and any date half the time."""
    hard = WORLD_V1.tiers[2]
    monkeypatch.setattr(tier_audit, "BLIND", {"hard": BLIND["hard"]})
    monkeypatch.setattr(tier_audit, "NUM_QUESTIONS", 120)
    monkeypatch.setattr(tier_audit, "_documents", lambda *arguments: [])
    earned = {figure.name: figure.share for figure in audit_tier(hard, 5)}
    for kind in ("comparison", "number comparison"):
        assert 0.2 < earned[f"Coin, {kind}"] < 0.8
    assert 0.2 < earned["AnyDate, history"] < 0.8 < earned["Coin, history"]


def test_reader_plays_with_natural_noise():
    assert tier_audit.reader_f1("careful", "small", 5, PlayOptions(), num_questions=5) == 1.0


@pytest.mark.parametrize(
    ("share", "limit", "holds"),
    [(0.95, Limit(0.95), True), (0.94, Limit(0.95), False), (0.0, Limit(0, 0), True),
     (0.01, Limit(0, 0), False), (0.5, Limit(), True)],
)  # fmt: skip
def test_figures_know_whether_they_hold(share, limit, holds):
    figure = Figure("x", share, limit, 7)
    assert figure.holds == holds and ("FAILS" in str(figure)) != holds
