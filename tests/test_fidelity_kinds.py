"""Kinds of documents, by what they say."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fidelity_data import WORLD, sentence
from zs_env.documents import SearchRequest
from zs_env.engines import load_engine
from zs_env.simulation.fidelity.kinds import OTHERS, STATES, UNREAD, claims_of, kind_of
from zs_env.simulation.truth import asked_facts
from zs_env.world import load_world
from zs_env.world.noise import BESIDE, CONTRADICTED, DATED, FALSE, HEDGED, NAMESAKE, NOISE_KINDS
from zs_env.world.text import corpus, statements

NAME, OTHER = WORLD.names[0], WORLD.names[1]
QUERY = f"the birthplace of {NAME}"
[FACT] = asked_facts(WORLD, QUERY)
WRONG = WORLD.names[WORLD.spans["city"].start + (FACT.object == WORLD.spans["city"].start)]
SAID = f"{NAME} was born in {WRONG}."


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (sentence(QUERY), STATES),
        (f"{SAID} {sentence(QUERY)}", STATES),
        (SAID, FALSE),
        (SAID.lower().replace(".", " ."), FALSE),
        (f"The home of {NAME} is in {WRONG}. {SAID}", FALSE),
        (f"It is said that {SAID}", HEDGED),
        (f"Perhaps {sentence(QUERY)}", HEDGED),
        (f"{NAME} was born in {WRONG} or {WORLD.names[FACT.object]}.", HEDGED),
        (f"As of 1990, {SAID}", DATED),
        (f"{SAID} But a newer page of 1999 denies this.", CONTRADICTED),
        (f"{OTHER} was born in {WRONG}.", NAMESAKE),
        (f"{NAME} lives in {WRONG}.", BESIDE),
        (f"{OTHER} lives in {WRONG}.", OTHERS),
        (f"The one {NAME} went to town.", UNREAD),
        ("", UNREAD),
    ],
)
def test_kind_is_what_the_sentences_say(text, kind):
    assert kind_of(WORLD, QUERY, text) == kind


@pytest.mark.parametrize("size", ["small", "hard"])
def test_every_sentence_of_the_corpus_is_read_once(size):
    """A name that ends in "is" was once taken for the verb: "The birth year of Iris ..."."""
    world = load_world(0, size)
    sentences = [
        sentence
        for section in list(corpus(world))[:1000]
        for sentence in section.text.removesuffix(".").split(". ")
    ]
    claims = [list(claims_of(world, sentence)) for sentence in sentences]
    assert {len(found) for found in claims} == {1}


def test_claims_are_the_facts_that_were_stated():
    for person in range(50):
        for fact in WORLD.facts_of(person):
            for said in statements(WORLD, fact):
                assert [claim.fact for claim in claims_of(WORLD, said)] == [fact]


@pytest.mark.parametrize("size", ["small", "hard"])
@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_noise_of_the_program_has_the_kind_that_it_was_asked_for(kind, size):
    """But where the program finds no sentence of its kind that holds no golden answer."""
    world = load_world(0, size)
    engine = load_engine({"name": "world", kind: 1}, 0, size)
    found = Counter()
    for person in range(60):
        query = f"the {('birthplace', 'rival', 'home')[person % 3]} of {world.names[person]}"
        request = SearchRequest(query, query, ("?",), noisy=True, key=person)
        [result] = engine.search([request])
        found.update(kind_of(world, query, each.text) for each in result.documents)
    assert found[kind] / found.total() > 0.95
