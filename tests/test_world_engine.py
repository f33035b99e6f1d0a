"""The embedded search engine: what it understands, and what its documents say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.human_queries import HUMAN_QUERIES
from tests.helpers import all_facts
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
    assert read_query(WORLD, f"tell me about {NAME}") == ([ADA], [], True, True)
    assert read_query(WORLD, f"favourite colour of {NAME}") == ([ADA], [], True, False)
    assert read_query(WORLD, "xyzzy") == ([], [], False, False)
    assert len(read_query(WORLD, " ".join(WORLD.names[:50])).entities) == 4


@pytest.mark.parametrize(
    "name", [NAME.lower(), " ".join(NAME.split()[::-1]), NAME.replace(" ", " J. "), NAME[:-1]]
)
def test_read_query_finds_a_name_that_is_not_verbatim(name):
    fact = WORLD.fact(ADA, BY_NAME["employer"])
    assert read_query(WORLD, f"employer of {name}").asked == [fact]


def test_read_query_of_a_surname_asks_about_all_who_have_it():
    surname = NAME.split()[1].lower()
    reading = read_query(WORLD, f"employer of {surname}")
    assert not reading.named and 1 <= len(reading.entities) <= 4
    for entity, fact in zip(reading.entities, reading.asked, strict=True):
        assert surname in WORLD.names[entity].lower().split()
        assert (fact.subject, fact.relation.name) == (entity, "employer")


def test_read_query_asks_for_two_relations_where_words_speak_of_both():
    names = {relation for _, relation, _ in asked(f"birthplace and employer of {NAME}")}
    assert names == {"birthplace", "employer"}


def test_read_query_understands_what_people_type():
    """Queries that use none of the grammar's own phrasings."""
    for name, queries in HUMAN_QUERIES.items():
        relation = BY_NAME[name]
        templates = {*relation.questions, *relation.phrases}
        assert len(queries) >= 3 and not templates & set(queries)
        for entity in list(WORLD.spans[relation.subject])[:3]:
            for query in queries:
                text = query.format(s=WORLD.names[entity])
                assert read_query(WORLD, text).asked == [WORLD.fact(entity, relation)], text
    assert set(HUMAN_QUERIES) == set(BY_NAME)


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
    true, false_leads, namesakes = WORLD.names[fact.object], 0, 0
    for key in range(100):
        for text in find(f"employer of {NAME}", noisy=True, key=key):
            assert true not in text
            assert any(word in text for word in NAME.split())
            leads = [s.split("{o}")[0].format(s=NAME) for s in fact.relation.statements[:2]]
            false_leads += any(lead in text for lead in leads)
            namesakes += NAME not in text or text.count(NAME) < text.count(".")
    assert false_leads > 50, "some are plain falsehoods, and nothing marks them"
    assert namesakes > 50, "some are about entities that are easily taken for the right one"


def test_useful_documents_say_only_what_is_true():
    true = {sentence for fact in all_facts(WORLD) for sentence in statements(WORLD, fact)}
    for key, query in enumerate([NAME, f"rival of {NAME}", "xyzzy", NAME.split()[0]]):
        for text in find(query, key=key):
            for sentence in text.replace(". ", ".\n").split("\n"):
                assert sentence in true


@pytest.mark.parametrize("query", ["favourite colour of {}", "{} shoe size", "about {}"])
def test_noisy_documents_state_nothing_where_the_relation_is_not_understood(query):
    true = [s for fact in WORLD.facts_of(ADA) for s in statements(WORLD, fact)]
    for name in (NAME, NAME.lower(), NAME[:-1]):
        for key in range(20):
            for text in find(query.format(name), noisy=True, key=key):
                assert not any(sentence in text for sentence in true)


def test_documents_of_one_split_state_no_fact_of_the_other():
    """Else facts that test questions ask for would be shown in training."""
    test = {s for f in all_facts(WORLD) if WORLD.is_test[f.subject] for s in statements(WORLD, f)}
    questions = WORLD.questions("train")
    for index in range(200):
        fact = questions.facts(index)[0]
        query = fact.relation.phrases[0].format(s=WORLD.names[fact.subject])
        for text in [query, "xyzzy"]:
            request = SearchRequest(
                text, questions[index].text, ("x",), bool(index % 2), document_words=60, key=index
            )
            for document in ENGINE.search([request])[0].documents:
                for sentence in document.text.replace(". ", ".\n").split("\n"):
                    assert sentence not in test


def test_golden_answer_is_not_leaked_over_the_border_of_two_sentences():
    city = next(WORLD.names[i] for i in WORLD.spans["city"])
    golden = " ".join(city.split()[::-1])
    for key in range(300):
        for text in find(f"{city.split()[0]} xyzzy", golden=(golden,), key=key, document_words=60):
            assert not substring_match(text, [golden])


def test_long_documents_are_as_long_as_asked_for():
    for words in (100, 400):
        for text in find(f"rival of {NAME}", document_words=words):
            assert 0.8 * words <= len(text.split()) <= words


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
