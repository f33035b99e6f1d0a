"""The audit of the tiers of world-v1."""

from __future__ import annotations

import pytest

from benchmarks import tier_audit
from benchmarks.tier_audit import AGENTS, Figure, Limit, audit, audit_tier
from zs_env.evaluation.benchmarks import WORLD_V1
from zs_env.evaluation.options import PlayOptions


@pytest.fixture(autouse=True)
def few_questions(monkeypatch):
    monkeypatch.setattr(tier_audit, "NUM_QUESTIONS", 10)
    monkeypatch.setattr(tier_audit, "AGENTS", {name: {} for name in AGENTS})


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
