"""The hard world: histories, namesakes, numbers and long chains."""

from __future__ import annotations

from collections import Counter

import pytest

from zs_env import SearchRequest
from zs_env.engines.world import WorldEngine
from zs_env.world import load_world
from zs_env.world.noise import NATURAL
from zs_env.world.plans import Description, Hop, parse_question
from zs_env.world.relations import BY_NAME
from zs_env.world.schema import NUMBER, PERSON, YEAR
from zs_env.world.text import corpus, state, tell

WORLD = load_world(0, "hard")
ENGINE = WorldEngine(WORLD, NATURAL)


def documents(query, *, noisy=False, key=0, top_k=4, words=12):
    request = SearchRequest(
        query, query, ("x",), noisy=noisy, top_k=top_k, document_words=words, key=key
    )
    return [document.text for document in ENGINE.search([request])[0].documents]


def facts():
    return [fact for entity in range(0, WORLD.num_entities, 7) for fact in WORLD.facts_of(entity)]


def test_facts_of_changing_relations_have_a_former_version_of_an_earlier_year():
    changed = 0
    for fact in facts():
        versions = WORLD.versions(fact)
        assert (versions is not None) == (fact.relation.name in WORLD.blueprint.changing)
        if versions is not None:
            former, current = versions
            assert current.fact == fact and former.fact != fact
            assert former.fact.object != fact.subject
            assert former.fact[:2] == fact[:2]
            assert 1950 <= int(former.year) < int(current.year) <= 1999
            changed += 1
    assert changed > 500
    assert all(load_world().versions(f) is None for f in load_world().facts_of(0))


def test_tell_gives_each_version_its_year():
    fact = next(f for f in facts() if WORLD.versions(f))
    former, current = WORLD.versions(fact)
    for version in (former, current):
        text = tell(WORLD, version.fact, 0)
        assert text.startswith(f"As of {version.year}, ")
        assert WORLD.names[version.fact.object] in text
    birth = WORLD.fact(0, BY_NAME["birthplace"])
    assert tell(WORLD, birth, 1) == state(WORLD, birth, 1)


def test_useful_documents_about_a_fact_that_changed_state_both_versions():
    for fact in [f for f in facts() if WORLD.versions(f)][:40]:
        query = fact.relation.phrases[0].format(s=WORLD.names[fact.subject])
        texts = documents(query, top_k=2)
        for version in WORLD.versions(fact):
            said = [tell(WORLD, version.fact, n) for n in range(3)]
            assert sum(any(s in text for s in said) for text in texts) == 1


def test_which_version_comes_first_is_drawn():
    fact = next(f for f in facts() if WORLD.versions(f))
    query = fact.relation.phrases[0].format(s=WORLD.names[fact.subject])
    true = WORLD.names[fact.object]
    first = Counter(true in documents(query, key=key)[0] for key in range(60))
    assert min(first.values()) > 15


def test_noisy_documents_never_state_what_holds():
    for fact in [f for f in facts() if WORLD.versions(f)][:40]:
        query = fact.relation.phrases[0].format(s=WORLD.names[fact.subject])
        for text in documents(query, noisy=True, top_k=5):
            assert WORLD.names[fact.object] not in text


def test_corpus_states_both_versions_of_a_fact_that_changed():
    text = " ".join(passage.text for passage in corpus(WORLD) if passage.id.startswith("0-"))
    for fact in WORLD.facts_of(0):
        for version in WORLD.versions(fact) or ():
            assert any(tell(WORLD, version.fact, n) in text for n in range(3))


@pytest.mark.parametrize("split", ["train", "test"])
def test_questions_are_of_all_kinds(split):
    kinds = Counter(q.metadata["kind"] for q in WORLD.questions(split))
    share = {kind: count / sum(kinds.values()) for kind, count in kinds.items()}
    assert share == pytest.approx(
        {
            "comparison": 0.2,
            "number comparison": 0.2,
            "namesake": 0.25,
            "history": 0.25,
            "5-hop": 0.06,
            "6-hop": 0.04,
        }
    )


def test_namesakes_are_told_by_the_second_fact_and_not_by_the_name():
    questions = WORLD.questions("test")
    last_names = Counter(WORLD.names[p].split()[-1] for p in WORLD.spans[PERSON])
    checked = 0
    for index, question in enumerate(questions):
        if question.metadata["kind"] != "namesake":
            continue
        fact = questions.facts(index)[0]
        name = WORLD.names[fact.subject]
        last = name.split()[-1]
        assert name not in question.text
        assert last in question.text and WORLD.names[fact.object] in question.text
        assert last_names[last] > 1
        fitting = [
            s for s in WORLD.subjects(fact.relation, fact.object) if WORLD.names[s].endswith(last)
        ]
        assert fitting == [fact.subject]
        checked += 1
    assert checked == 125


def test_comparisons_of_numbers_ask_about_the_one_that_is_meant():
    questions = WORLD.questions("test")
    for index, question in enumerate(questions):
        if question.metadata["kind"] == "number comparison":
            first, second, asked = questions.facts(index)
            assert first.relation.object == NUMBER
            numbers = {f.subject: int(WORLD.names[f.object]) for f in (first, second)}
            words = set(question.text.replace("?", "").split())
            smaller = {"smaller", "fewer", "shorter"} & words or "ends earlier" in question.text
            pick = min if smaller else max
            assert asked.subject == pick(numbers, key=lambda entity: numbers[entity])
            assert question.golden_answers == (WORLD.names[asked.object],)


def test_histories_ask_for_a_fact_that_changed():
    questions = WORLD.questions("train")
    for index, question in enumerate(questions):
        if question.metadata["kind"] == "history":
            *_, last = questions.facts(index)
            assert WORLD.versions(last) is not None


def test_chains_have_as_many_facts_as_they_say():
    questions = WORLD.questions("test")
    for index, question in enumerate(questions):
        if question.metadata["kind"] in ("5-hop", "6-hop"):
            path = questions.facts(index)
            assert len(path) == question.metadata["hops"] == int(question.metadata["kind"][0])
            assert all(a.object == b.subject for a, b in zip(path, path[1:], strict=False))


def test_every_question_can_be_parsed():
    for question in WORLD.questions("test"):
        assert isinstance(parse_question(WORLD, question.text), Hop), question.text


def test_years_and_numbers_are_in_order_and_have_no_facts():
    for kind in (YEAR, NUMBER):
        values = [int(WORLD.names[entity]) for entity in WORLD.spans[kind]]
        assert values == sorted(values)
        assert not any(WORLD.facts_of(entity) for entity in WORLD.spans[kind])


def test_descriptions_find_the_person_in_every_wording():
    relation = BY_NAME["birthplace"]
    for subject in list(WORLD.spans[PERSON])[:60]:
        fact = WORLD.fact(subject, relation)
        word = WORLD.names[subject].split()[-1]
        need = Description(relation, word, fact.object, "")
        born_there = WORLD.subjects(relation, fact.object)
        fitting = {each for each in born_there if word in WORLD.names[each].split()}
        for query in need.wordings(WORLD):
            for text in documents(query, top_k=2):
                found = [need.match(WORLD, s) for s in text.removesuffix(".").split(". ")]
                assert set(found) & fitting, (query, text)


def test_noise_about_a_description_names_others():
    """The person is what is sought, so it must not be named; the place may be."""
    relation = BY_NAME["birthplace"]
    named = 0
    for subject in list(WORLD.spans[PERSON])[:60]:
        fact = WORLD.fact(subject, relation)
        need = Description(relation, WORLD.names[subject].split()[-1], fact.object, "")
        for text in documents(need.wordings(WORLD)[0], noisy=True, top_k=5):
            assert WORLD.names[subject] not in text
            named += WORLD.names[fact.object] in text
    assert named > 30
