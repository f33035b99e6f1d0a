"""The embedded search engine: what it understands, and what its documents say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zs_env import SearchRequest
from zs_env.engines import load_engine
from zs_env.rewards import substring_match
from zs_env.world import load_world
from zs_env.world.linker import read_query
from zs_env.world.relations import BY_NAME
from zs_env.world.text import statements, tokenize, vocabulary

WORLD = load_world()
ENGINE = load_engine("world")
ADA = WORLD.spans["person"].start
NAME = WORLD.names[ADA]
FILM = WORLD.spans["film"].start
CITY = WORLD.spans["city"].start


def find(query, golden=("nothing",), **kwargs):
    [result] = ENGINE.search([SearchRequest(query, "Who?", tuple(golden), **kwargs)])
    return [document.text for document in result.documents]


def asked(query):
    return [
        (WORLD.names[f.subject], f.relation.name, WORLD.names[f.object])
        for f in read_query(WORLD, query).asked
    ]


@pytest.mark.parametrize(
    ("query", "relation"),
    [
        (f"birthplace of {NAME}", "birthplace"),
        (f"{NAME} birth place", "birthplace"),
        (f"Where was {NAME} born?", "birthplace"),
        (f"WHERE IS {NAME.upper()} FROM, WHICH HOMETOWN", "birthplace"),
        (f"when was {NAME} born", "birth_year"),
        (f"{NAME} year of birth", "birth_year"),
        (f"how old is {NAME}", "birth_year"),
        (f"which university did {NAME} go to", "alma_mater"),
        (f"{NAME}'s alma mater", "alma_mater"),
        (f"who does {NAME} work for", "employer"),
        (f"{NAME} rivals", "rival"),
        (f"where does {NAME} live now", "residence"),
        (f"director of the film {WORLD.names[FILM]}", "director"),
        (f"who directed {WORLD.names[FILM]}", "director"),
        (f"lead actor {WORLD.names[FILM]}", "star"),
        (f"book that {WORLD.names[FILM]} was adapted from", "source"),
        (f"{WORLD.names[CITY]} nation", "country"),
        (f"mayor {WORLD.names[CITY]}", "mayor"),
        (f"football team of {WORLD.names[CITY]}", "club"),
    ],
)  # fmt: skip
def test_read_query_finds_the_relation_that_is_meant(query, relation):
    assert [name for _, name, _ in asked(query)] == [relation]


def test_read_query_of_a_whole_question_asks_for_the_first_hop():
    film = WORLD.names[FILM]
    director = WORLD.fact(FILM, BY_NAME["director"])
    expected = [(film, "director", WORLD.names[director.object])]
    assert asked(f"Where was the director of {film} born?") == expected


def test_read_query_of_two_entities_asks_for_a_fact_of_each():
    first, second = WORLD.names[FILM], WORLD.names[FILM + 1]
    for query, relation in (("release years of", "release_year"), ("older of", "release_year")):
        facts = asked(f"{query} {first} and {second}")
        assert [fact[:2] for fact in facts] == [(first, relation), (second, relation)]


def test_read_query_by_object_finds_subjects():
    director = WORLD.fact(FILM, BY_NAME["director"]).object
    found = asked(f"film directed by {WORLD.names[director]}")
    assert (WORLD.names[FILM], "director", WORLD.names[director]) in found


def test_read_query_without_relation_or_name():
    assert read_query(WORLD, f"tell me about {NAME}") == ([ADA], [], True)
    partial = read_query(WORLD, NAME.split()[1])
    assert not partial.named and ADA in {e for e in partial.entities} | set(
        WORLD.by_word[NAME.split()[1].lower()]
    )
    assert read_query(WORLD, "xyzzy") == ([], [], False)
    assert len(read_query(WORLD, " ".join(WORLD.names[:50])).entities) == 4


@pytest.mark.parametrize("document_words", [8, 30, 60])
def test_useful_documents_state_the_fact_in_about_the_words_asked_for(document_words):
    fact = WORLD.fact(ADA, BY_NAME["employer"])
    texts = find(f"employer of {NAME}", document_words=document_words, top_k=8)
    assert len(texts) == 8
    for text in texts:
        assert any(sentence in text for sentence in statements(WORLD, fact))
        assert document_words / 3 <= len(text.split()) <= document_words + 4
    assert len(set(texts)) >= 3, "documents differ"


def test_noisy_documents_are_about_it_and_never_state_it():
    fact = WORLD.fact(ADA, BY_NAME["employer"])
    true, false_leads, others = WORLD.names[fact.object], 0, 0
    for key in range(100):
        for text in find(f"employer of {NAME}", noisy=True, key=key):
            assert true not in text
            assert any(word in text for word in NAME.split())
            leads = [s.split("{o}")[0].format(s=NAME) for s in fact.relation.statements[:2]]
            false_leads += any(lead in text for lead in leads)
            others += NAME not in text
    assert false_leads > 50, "some are plain falsehoods, and nothing marks them"


def test_useful_documents_say_only_what_is_true():
    true = {sentence for fact in WORLD.all_facts() for sentence in statements(WORLD, fact)}
    for key, query in enumerate([NAME, f"rival of {NAME}", "xyzzy", NAME.split()[0]]):
        for text in find(query, key=key):
            for sentence in text.replace(". ", ".\n").split("\n"):
                assert sentence in true


def test_documents_follow_from_the_request_alone():
    query = f"rival of {NAME}"
    assert find(query, key=1) == find(query, key=1) != find(query, key=2)
    assert find(query, key=1) == find(query, golden=("other",), key=1)


def test_golden_answer_is_not_leaked_to_a_query_that_did_not_earn_it():
    """The engine is told the answer, and asked about the first hop, or about nothing."""
    questions = WORLD.questions("test")
    for index in range(100):
        question, facts = questions[index], questions.facts(index)
        queries = ["xyzzy", *question.golden_answers[0].split()[1:]]
        if question.metadata["kind"] in ("2-hop", "3-hop", "4-hop"):
            first = facts[0]
            queries.append(question.text)
            queries.append(first.relation.phrases[0].format(s=WORLD.names[first.subject]))
        for query in queries:
            for noisy in (False, True):
                for text in find(query, question.golden_answers, noisy=noisy, key=index):
                    assert not substring_match(text, question.golden_answers), (query, text)


def test_golden_answer_is_stated_to_a_query_that_asks_for_it():
    questions = WORLD.questions("test")
    for index in range(100):
        question, last = questions[index], questions.facts(index)[-1]
        query = last.relation.phrases[0].format(s=WORLD.names[last.subject])
        for text in find(query, question.golden_answers, key=index):
            assert substring_match(text, question.golden_answers)


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from([*WORLD.names[::97], *vocabulary()[::13]]) | st.text(max_size=5), max_size=9
    ).map(" ".join),
    st.booleans(),
    st.integers(1, 9),
)
def test_any_query_gets_its_documents(query, noisy, top_k):
    texts = find(query, golden=("1950",), noisy=noisy, top_k=top_k)
    assert len(texts) == top_k
    known = set(vocabulary())
    assert all(text and known.issuperset(tokenize(text)) for text in texts)


def test_megabyte_of_query_is_answered():
    assert len(find(f"{NAME} " * 60_000)) == 5
