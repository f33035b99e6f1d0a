"""What documents state, by the facts of the embedded world."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation_data import WORLD
from zs_env import Document, SearchRequest
from zs_env.engines.world import WorldEngine
from zs_env.simulation.truth import (
    facts_in,
    holds_golden_answer,
    is_final,
    sentences_of,
    stated_facts,
)
from zs_env.world import load_world
from zs_env.world.graph import Fact
from zs_env.world.marks import CORRECTED, dated, hedged
from zs_env.world.relations import BY_NAME
from zs_env.world.text import corpus, state, statements, tokenize

PERSON = WORLD.find("Wanda Calder")
BIRTH = WORLD.fact(PERSON, BY_NAME["birthplace"])
QUERY = "Where was Wanda Calder born?"
SENTENCE = state(WORLD, BIRTH, 0)
FALSE = state(WORLD, BIRTH._replace(object=WORLD.find("Rosmere Cedrun")), 0)

facts = st.builds(
    lambda entity, slot: WORLD.facts_of(entity)[slot % len(WORLD.facts_of(entity))],
    st.integers(0, WORLD.num_entities - 1),
    st.integers(0, 20),
)


def states(*texts, query=QUERY):
    return stated_facts(WORLD, query, [Document(text, "Any title") for text in texts])


def test_document_that_states_the_asked_fact_is_found():
    assert SENTENCE == "Wanda Calder was born in Langmoor Deepwell."
    found = states("The home of Wanda Calder is in Merrow Islewater.", f"Yes. {SENTENCE} No.")
    assert found.asked == (BIRTH,) and found.stated == (BIRTH,) and found.useful
    assert not states("The home of Wanda Calder is in Merrow Islewater.").useful


@pytest.mark.parametrize(
    "text",
    [
        "the birthplace of wanda calder is langmoor deepwell .",
        "THE BIRTHPLACE OF WANDA CALDER IS LANGMOOR DEEPWELL",
        "the home of x is y . the  birthplace of wanda calder is langmoor deepwell . and so on",
        "Wanda Calder was born in Langmoor Deepwell",
    ],
)
def test_case_and_detached_punctuation_do_not_count(text):
    assert states(text).useful


@pytest.mark.parametrize(
    "text",
    [
        "",
        FALSE,
        hedged(SENTENCE, 2),
        CORRECTED.format(s=SENTENCE, year="1999"),
        CORRECTED.format(s=SENTENCE, year="1999").lower().replace(".", " ."),
        dated(SENTENCE, "1958"),
        SENTENCE.replace("Deepwell", "Deepwell or Rosmere Cedrun"),
        SENTENCE.replace("Langmoor Deepwell", "Langmoor Deepwell Vale"),  # a longer name
        SENTENCE.replace("Wanda", "Ada Wanda"),
        SENTENCE.replace("Calder was", "Calder. Was"),
    ],
)
def test_what_only_resembles_a_statement_states_nothing(text):
    assert not states(text).useful


def test_query_that_asks_for_nothing_finds_nothing():
    assert states(SENTENCE, query="Wanda Calder") == ((), ())
    assert states(SENTENCE, query="") == ((), ())


def test_fact_that_changed_counts_with_the_year_in_which_it_holds():
    hard = load_world(0, "hard")
    relation = next(r for r in hard.relations if r.name in hard.blueprint.changing)
    entity = hard.spans[relation.subject].start
    former, current = hard.versions(hard.fact(entity, relation))
    said = state(hard, current.fact, 0)
    assert facts_in(hard, [current.fact], dated(said, current.year)) == [current.fact]
    assert facts_in(hard, [current.fact], dated(said, current.year).lower()) == [current.fact]
    assert facts_in(hard, [current.fact], said) == []
    assert facts_in(hard, [current.fact], dated(said, former.year)) == []
    assert facts_in(hard, [former.fact], dated(state(hard, former.fact, 1), former.year))


@given(fact=facts, phrasing=st.integers(0, 9), detached=st.booleans(), upper=st.booleans())
def test_every_phrasing_of_every_fact_is_read(fact, phrasing, detached, upper):
    said = statements(WORLD, fact)
    text = f"Before. {said[phrasing % len(said)]} After."
    text = " ".join(tokenize(text)) if detached else text
    assert facts_in(WORLD, [fact], text.upper() if upper else text) == [fact]


@given(fact=facts, other=st.integers(0, len(WORLD.names) - 1), phrasing=st.integers(0, 9))
def test_no_other_object_is_taken_for_the_right_one(fact, other, phrasing):
    false = Fact(fact.subject, fact.relation, other)
    said = statements(WORLD, false)
    found = facts_in(WORLD, [fact], said[phrasing % len(said)])
    assert found == ([fact] if other == fact.object else [])


@given(text=st.text(alphabet=st.sampled_from("aA .,?-\n'"), max_size=60))
def test_sentences_are_clean_whatever_the_text(text):
    for sentence, _ in sentences_of(text):
        assert sentence == sentence.strip().lower() and "." not in sentence
        assert not re.search(r"\s\s|\n", sentence)


def test_program_that_plays_the_engine_keeps_its_word():
    """Each useful search of the engine `world` states the fact, and no noisy one does."""
    engine = WorldEngine(WORLD)
    questions = [WORLD.questions()[number] for number in range(40)]
    for noisy in (False, True):
        requests = [
            SearchRequest(state_query(fact), q.text, q.golden_answers, noisy, key=number)
            for number, q in enumerate(questions)
            for fact in WORLD.questions().facts(number)[:1]
        ]
        for request, result in zip(requests, engine.search(requests), strict=True):
            assert stated_facts(WORLD, request.query, result.documents).useful != noisy


def state_query(fact):
    return fact.relation.questions[0].format(s=WORLD.names[fact.subject])


def test_corpus_states_every_fact_once():
    pages = {}
    for section in corpus(WORLD):
        pages.setdefault(section.title, []).append(section.text)
    for entity in range(0, WORLD.num_entities, 40):
        own = WORLD.facts_of(entity)
        found = [f for text in pages[WORLD.names[entity]] for f in facts_in(WORLD, own, text)]
        assert sorted(f.relation.name for f in found) == sorted(f.relation.name for f in own)


def test_golden_answer_is_found_as_words():
    documents = [Document("x", "the new york times"), Document("He sold 4,200 cars .")]
    assert holds_golden_answer(documents, ("New York Times!",))
    assert holds_golden_answer(documents, ("none", "4200"))
    assert not holds_golden_answer(documents, ("York Time", "car"))


def test_final_hop_gives_a_golden_answer():
    assert is_final([BIRTH], WORLD, ("langmoor deepwell",))
    assert not is_final([BIRTH], WORLD, ("Wanda Calder",)) and not is_final([], WORLD, ("x",))
