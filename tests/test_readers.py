"""Scripted readers that take noise differently."""

from __future__ import annotations

import pytest

from zs_env import Document
from zs_env.envs.text_env import ZeroSearchEnv
from zs_env.prompts import render_information
from zs_env.world import load_world
from zs_env.world.plans import Lookup
from zs_env.world.readers import CarefulReader, CarelessReader
from zs_env.world.relations import BY_NAME
from zs_env.world.solver import HopByHopSolver

WORLD = load_world()
HARD = load_world(0, "hard")
ADA, BEN = WORLD.spans["person"][:2]
TOWN, OTHER, THIRD = (WORLD.names[city] for city in WORLD.spans["city"][:3])
NEED = Lookup(BY_NAME["residence"], ADA)


def seen(*texts, world=WORLD, need=NEED):
    """Return a transcript with one search for ``need`` that found these texts."""
    query = need.wordings(world)[0]
    information = render_information([Document(text) for text in texts])
    return f"<think></think><search>{query}</search>{information}"


def lives(person, city, world=WORLD):
    return f"{world.names[person]} lives in {city}"


@pytest.mark.parametrize(
    ("texts", "careful", "careless"),
    [
        ([lives(ADA, TOWN) + "."] * 2, TOWN, TOWN),
        ([lives(ADA, TOWN) + "."], None, TOWN),
        ([lives(ADA, TOWN) + ".", lives(ADA, OTHER) + "."], None, TOWN),
        ([lives(ADA, OTHER) + ".", *[lives(ADA, TOWN) + "."] * 3], TOWN, OTHER),
        ([lives(BEN, TOWN) + "."] * 2, None, TOWN),
        ([f"It is said that {lives(ADA, TOWN)}."] * 2, None, TOWN),
        ([f"Perhaps {lives(ADA, TOWN)}."] * 2, None, TOWN),
        ([lives(ADA, f"{TOWN} or {OTHER}") + "."] * 2, None, TOWN),
        ([f"As of 1931, {lives(ADA, TOWN)}."] * 2, None, TOWN),
        ([f"{lives(ADA, TOWN)}. But a newer page of 1975 denies this."] * 2, None, TOWN),
        ([f"{WORLD.names[ADA]} was born in {TOWN}."] * 2, None, None),
    ],
)
def test_readers_believe_what_they_should(texts, careful, careless):
    expected = [None if name is None else WORLD.find(name) for name in (careful, careless)]
    transcript = seen(*texts)
    assert CarefulReader(WORLD).read(NEED, transcript) == expected[0]
    assert CarelessReader(WORLD).read(NEED, transcript) == expected[1]


def test_agreement_adds_up_over_searches():
    once = seen(lives(ADA, TOWN) + ".")
    assert CarefulReader(WORLD).read(NEED, once) is None
    assert CarefulReader(WORLD).read(NEED, once + once) == WORLD.find(TOWN)


@pytest.mark.parametrize(
    ("dates", "believed"),
    [
        ({"1960": OTHER, "1980": TOWN}, TOWN),
        ({"1980": TOWN, "1960": OTHER}, TOWN),
        ({"1980": TOWN}, None),
    ],
)
def test_of_different_dates_the_newest_is_believed(dates, believed):
    need = Lookup(BY_NAME["residence"], HARD.spans["person"][0])
    texts = [f"As of {year}, {lives(need.subject, city, HARD)}." for year, city in dates.items()]
    found = CarefulReader(HARD).read(need, seen(*texts, world=HARD, need=need))
    assert found == (None if believed is None else HARD.find(believed))
    plain = seen(lives(need.subject, TOWN, HARD) + ".", world=HARD, need=need)
    assert CarefulReader(HARD).read(need, plain) is None, "what changes has a date"


def test_in_the_last_turn_the_careful_reader_takes_what_it_has():
    searched = seen(lives(ADA, TOWN) + ".")
    question = BY_NAME["residence"].questions[0].format(s=WORLD.names[ADA])
    transcript = f"Question: {question}\n{searched}"
    assert TOWN in CarefulReader(WORLD, max_turns=2)(transcript)
    assert "<search>" in CarefulReader(WORLD, max_turns=3)(transcript)


def test_compared_facts_are_asked_for_at_once():
    question = next(q for q in WORLD.questions("test") if q.metadata["kind"] == "comparison")
    turn = CarefulReader(WORLD)(f"Question: {question.text}\n")
    query = turn.partition("<search>")[2]
    assert " and " in query and "<search>" in turn


def mean_f1(reader, world, noise, max_turns, count=120):
    env = ZeroSearchEnv(
        split="test", world_size=world.size, engine="world,mixture=natural", max_turns=max_turns,
        noise="constant", noise_end=noise,
    )  # fmt: skip
    total = 0.0
    for question in list(world.questions("test"))[:count]:
        observation, _ = env.reset(seed=1, options={"question": question.id})
        over = False
        while not over:
            observation, _, terminated, truncated, info = env.step(reader(observation))
            over = terminated or truncated
        total += info["f1"]
    return total / count


def test_care_overcomes_noise_and_carelessness_does_not():
    """Limits of the audit, loosened for a quarter of its questions."""
    assert mean_f1(CarefulReader(WORLD, 8), WORLD, 0.5, 8) > 0.8
    assert mean_f1(CarelessReader(WORLD, 8), WORLD, 0.5, 8) < 0.5
    assert mean_f1(CarefulReader(HARD, 15), HARD, 0.5, 15) > 0.85
    assert mean_f1(CarelessReader(HARD, 15), HARD, 0.5, 15) < 0.5


@pytest.mark.parametrize("world", [WORLD, HARD], ids=["small", "hard"])
def test_without_noise_solver_and_careful_reader_solve_everything(world):
    for reader in (HopByHopSolver(world, 8), CarefulReader(world, 8)):
        assert mean_f1(reader, world, 0.0, 8) == 1.0
