"""Kinds of noisy documents of the engine `world`."""

from __future__ import annotations

from collections import Counter

import pytest

from zs_env import SearchRequest
from zs_env.engines import load_engine
from zs_env.engines.world import WorldEngine
from zs_env.world import load_world, marks
from zs_env.world.noise import NATURAL, NOISE_KINDS
from zs_env.world.relations import BY_NAME
from zs_env.world.text import statements

WORLD = load_world()
ADA = WORLD.spans["person"][0]
NAME = WORLD.names[ADA]
FACT = WORLD.fact(ADA, BY_NAME["employer"])
QUERY = f"the employer of {NAME}"


def find(engine, noisy=True, key=0, query=QUERY, top_k=5, words=12):
    request = SearchRequest(
        query, "?", ("x",), noisy=noisy, top_k=top_k, key=key, document_words=words
    )
    return [document.text for document in engine.search([request])[0].documents]


def kind_of(text):
    """Return the kind of a noisy document for `QUERY`, told by its text alone."""
    if any(text.startswith(h.format(s="")) or f". {h.format(s='')}" in text for h in marks.HEDGES):
        return "hedged"
    if " or " in text:
        return "hedged"
    if "denies this" in text:
        return "contradicted"
    if "As of " in text:
        return "dated"
    for sentence in text.removesuffix(".").split(". "):
        for template in FACT.relation.statements:
            before, _, after = template.removesuffix(".").replace("{s}", NAME).partition("{o}")
            if sentence.startswith(before) and sentence.endswith(after):
                return "false"
    leads = [t.removesuffix(".").replace("{s}", "").replace("{o}", "") for t in RELATED]
    return "namesake" if any(all(w in text.split() for w in x.split()) for x in leads) else "beside"


RELATED = FACT.relation.statements


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_documents_of_a_kind_are_of_that_kind_and_never_state_the_fact(kind):
    engine = load_engine(f"world,{kind}=1")
    true = WORLD.names[FACT.object]
    kinds = Counter()
    for key in range(60):
        for text in find(engine, key=key):
            assert true not in text
            kinds[kind_of(text)] += 1
    # A beside document may go on with a namesake's fact, to be long enough.
    allowed = {"beside": {"beside", "namesake"}}.get(kind, {kind})
    assert set(kinds) <= allowed


def test_each_document_draws_its_own_kind_and_falsehoods_are_rare():
    engine = load_engine("world,mixture=natural")
    kinds = Counter()
    mixed = 0
    for key in range(400):
        found = [kind_of(text) for text in find(engine, key=key)]
        mixed += len(set(found)) > 1
        kinds.update(found)
    assert mixed > 350
    total = sum(kinds.values())
    assert total == 2000
    assert 0.03 < kinds["false"] / total < 0.07  # 1 of 20
    assert 0.16 < kinds["hedged"] / total < 0.24  # 4 of 20
    assert 0.07 < kinds["dated"] / total < 0.13  # 2 of 20
    assert 0.07 < kinds["contradicted"] / total < 0.13  # 2 of 20
    assert 0.50 < (kinds["beside"] + kinds["namesake"]) / total < 0.60  # 11 of 20


def test_asking_again_draws_anew_and_the_same_request_does_not():
    engine = load_engine("world,mixture=natural")
    assert find(engine, key=1) == find(engine, key=1)
    assert len({tuple(find(engine, key=key)) for key in range(10)}) == 10


def test_useful_documents_do_not_depend_on_the_kinds():
    plain, natural = load_engine("world"), load_engine("world,mixture=natural")
    for key in range(20):
        texts = find(plain, noisy=False, key=key)
        assert texts == find(natural, noisy=False, key=key)
        assert all(any(s in text for s in statements(WORLD, FACT)) for text in texts)


def test_plain_is_what_it_always_was_however_it_is_written():
    plain = load_engine("world")
    same = load_engine("world,mixture=plain"), load_engine("world,false=1,namesake=1,beside=1")
    for engine in same:
        assert engine.identity() == plain.identity()
        assert find(engine, key=3) == find(plain, key=3)
    assert "noise" not in plain.identity()
    assert load_engine("world,mixture=natural").identity()["noise"] == dict(NATURAL)


@pytest.mark.parametrize("shares", [{}, {"false": 0}, {"hedge": 1}, {"hedged": -1, "false": 1}])
def test_wrong_shares_are_refused(shares):
    with pytest.raises(ValueError):
        WorldEngine(WORLD, shares)


@pytest.mark.parametrize(
    ("engine", "size", "error", "message"),
    [
        ("world,mixture=naturel", "small", ValueError, "did you mean 'natural'"),
        ("world,mixture=natural,hedged=3", "small", ValueError, "natural' and hedged=3"),
        ("world,hedged=-1", "small", ValueError, "`hedged` must be at least 0, got -1"),
        ("world,hedged=0.5", "small", TypeError, "`hedged` must be an integer, got 0.5"),
        ("world,hedge=1", "small", TypeError, "'hedge'"),
        ("world,mixture=natural", "tiny", ValueError, "no words for hedged, dated, contradicted"),
    ],
)
def test_wrong_kinds_are_refused(engine, size, error, message):
    with pytest.raises(error, match=message):
        load_engine(engine, 0, size)


def test_tiny_world_has_the_kinds_that_it_has_words_for():
    engine = load_engine("world,beside=1", 0, "tiny")
    assert isinstance(engine, WorldEngine) and engine.shares["beside"] == 1


@pytest.mark.parametrize("number", range(len(marks.HEDGES)))
def test_marks_can_be_read_again(number):
    statement = "The birthplace of Ada Barlow is Brimsey"
    assert marks.without_hedge(marks.hedged(statement, number)) == statement
    assert marks.split_date(marks.dated(statement, "1931")) == (1931, statement)
    assert marks.split_date(statement) == (None, statement)
    said, correction = marks.corrected(statement + ".", "1975").removesuffix(".").split(". ")
    assert said == statement and marks.is_correction(correction)
    assert not marks.is_correction(statement)
