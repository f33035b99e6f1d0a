"""The embedded world: its facts, its English, its questions."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import all_facts
from zs_env import prompts
from zs_env.documents import SearchRequest
from zs_env.engines import load_engine
from zs_env.rewards import normalize_answer
from zs_env.world import World, load_world, words
from zs_env.world.plans import Hop, parse_question
from zs_env.world.relations import BY_NAME, RELATIONS
from zs_env.world.schema import PERSON, YEAR
from zs_env.world.text import corpus, state, statements, tokenize, vocabulary

WORLD = load_world()
SIZES = {"small": 2_000, "medium": 20_000, "large": 100_000}
every_size = pytest.mark.parametrize("size", SIZES)


@every_size
def test_world_size_names_and_types(size):
    world = load_world(0, size)
    assert world.num_entities == SIZES[size]
    normal = [normalize_answer(name) for name in world.names]
    assert normal == [name.lower() for name in world.names], "scoring changes no name"
    assert len(set(normal)) == len(normal), "every name is unique"
    assert [world.find(name) for name in world.names[:50]] == list(range(50))
    assert world.find("nobody") is None


def test_world_has_enough_types_relations_and_phrasings():
    assert len({relation.subject for relation in RELATIONS}) >= 6 and len(RELATIONS) >= 20
    assert len({relation.name for relation in RELATIONS}) == len(RELATIONS)
    for relation in RELATIONS:
        for templates in (relation.statements, relation.questions, relation.phrases):
            assert len(set(templates)) >= 3, relation.name
        assert all("{s}" in t and "{o}" in t for t in relation.statements)
        assert all(t.count("{s}") == 1 for t in (*relation.questions, *relation.phrases))
        if relation.object == YEAR:
            assert len(relation.earlier) >= 3 and len(relation.later) >= 3
            assert all("{a} and {b}" in t for t in (*relation.earlier, *relation.later))


def test_world_no_relation_is_the_inverse_of_another():
    """Two relations between the same types in opposite directions must mean different things."""
    pairs = {(r.subject, r.object) for r in RELATIONS if r.object != YEAR}
    both_ways = {frozenset(pair) for pair in pairs if pair[::-1] in pairs and pair[0] != pair[1]}
    named = {
        frozenset(pair): sorted(r.name for r in RELATIONS if {r.subject, r.object} == pair)
        for pair in both_ways
    }
    # Checked by reading: none of these says in one direction what another says in the other.
    assert named == {
        frozenset({PERSON, "city"}): ["birthplace", "mayor", "residence", "settler"],
        frozenset({PERSON, "company"}): ["chief", "employer", "founder"],
        frozenset({PERSON, "university"}): ["alma_mater", "rector"],
    }


def test_world_facts_have_objects_of_the_right_type():
    for fact in all_facts(WORLD):
        assert WORLD.types[fact.subject] == fact.relation.subject
        assert WORLD.types[fact.object] == fact.relation.object
        assert fact.subject != fact.object
    assert (WORLD.facts[WORLD.num_entities :] == -1).all()
    entity = WORLD.spans["city"].start
    assert len(WORLD.facts_of(entity)) == len(WORLD.blueprint.by_subject["city"])


def test_world_people_are_born_before_anything_else_happens():
    years = {True: [], False: []}
    for fact in all_facts(WORLD):
        if fact.relation.object == YEAR:
            years[fact.relation.subject == PERSON].append(int(WORLD.names[fact.object]))
    assert max(years[True]) < 1950 <= min(years[False])


def test_world_subjects_inverts_facts():
    relation = BY_NAME["rival"]
    fact = WORLD.fact(3, relation)
    expected = [f.subject for f in all_facts(WORLD) if f[1:] == fact[1:]]
    assert WORLD.subjects(relation, fact.object) == expected and 3 in expected


def test_world_follows_from_seed_and_size_in_any_process():
    code = (
        "from zs_env.world import load_world; w = load_world(5);"
        "print(w.names[7], w.facts.sum(), w.is_test.sum(), w.questions('test')[11].text)"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    world = World(5)
    texts = [
        world.names[7],
        world.facts.sum(),
        world.is_test.sum(),
        world.questions("test")[11].text,
    ]
    assert output == " ".join(map(str, texts))
    assert World(6).names[:20] != world.names[:20]


def test_world_is_shared_also_by_copies():
    world = load_world()  # anew: other tests may have crowded it out
    assert pickle.loads(pickle.dumps(world)) is world
    assert copy.deepcopy(world) is world
    assert pickle.loads(pickle.dumps(world.questions("test"))) is world.questions("test")
    assert repr(WORLD) == "World(seed=0, size='small')"


def test_world_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="tiny, small, medium, large, hard, got 'huge'"):
        World(0, "huge")
    with pytest.raises(TypeError, match="must be an integer"):
        World("0")
    with pytest.raises(ValueError, match="train, test"):
        WORLD.questions("dev")


def test_corpus_states_each_fact_once_and_nothing_else():
    passages = list(corpus(WORLD))
    assert len({passage.id for passage in passages}) == len(passages)
    text = {}
    for passage in passages:
        assert passage.title in passage.text and len(passage.text.split()) <= 40
        text[passage.title] = f"{text.get(passage.title, '')} {passage.text}"
    num_sentences = 0
    for fact in all_facts(WORLD):
        page = text[WORLD.names[fact.subject]]
        assert sum(sentence in page for sentence in statements(WORLD, fact)) == 1
        num_sentences += 1
    assert sum(passage.text.count(".") for passage in passages) == num_sentences


@pytest.mark.parametrize("size", ["medium", "hard"])
def test_vocabulary_is_closed_and_about_a_thousand_words(size):
    known = set(vocabulary())
    assert 900 <= len(known) <= 1200
    world = World(3, size)
    engine = load_engine("world,mixture=natural", 3, size)
    texts = [passage.text for passage in corpus(world)] + list(world.names)
    questions = [question for split in ("train", "test") for question in world.questions(split)]
    for number, question in enumerate(questions[:3000]):
        texts += [question.text, *question.golden_answers]
        request = SearchRequest(question.text, "?", ("x",), noisy=bool(number % 2), top_k=20)
        if number % 20 == 0:
            [result] = engine.search([request])
            texts.append(prompts.render_information(result.documents))
    texts += [
        prompts.render_prompt(prompts.PROMPT, ""),
        prompts.render_correction("there was no search and no answer"),
        prompts.render_correction("the query was empty"),
        prompts.render_information([]),
        "<think></think><search></search><answer></answer>",
    ]
    unknown = {token for text in texts for token in tokenize(text)} - known
    assert not unknown


def test_state_uses_the_phrasing_asked_for():
    fact = WORLD.fact(0, BY_NAME["birthplace"])
    name, city = WORLD.names[0], WORLD.names[fact.object]
    assert state(WORLD, fact, 1) == f"The birthplace of {name} is {city}."


@every_size
def test_questions_are_unique_and_mixed(size):
    world = load_world(0, size)
    test = list(world.questions("test"))
    assert len(test) == 500
    assert len({question.id for question in test}) == 500
    assert len({question.text for question in test}) == 500
    kinds = [question.metadata["kind"] for question in test]
    counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    assert counts == {"1-hop": 125, "2-hop": 175, "3-hop": 100, "4-hop": 50, "comparison": 50}
    assert len(set(kinds[:20])) >= 4, "kinds are mixed"
    assert len(world.questions("train")) == {"small": 10_000, "medium": 50_000}.get(size, 200_000)


@pytest.mark.parametrize("split", ["train", "test"])
def test_questions_have_the_golden_answer_that_the_facts_give(split):
    """Answered by a second road: parsed from their text and evaluated on the graph."""

    def evaluate(plan):
        if isinstance(plan, int):
            return plan
        if isinstance(plan, Hop):
            return WORLD.facts[evaluate(plan.subject), WORLD.blueprint.slots[plan.relation.name]]
        years = [
            int(WORLD.names[WORLD.fact(entity, plan.relation).object])
            for entity in (plan.first, plan.second)
        ]
        assert years[0] != years[1]
        return plan.first if (years[0] > years[1]) == plan.later else plan.second

    for question in list(WORLD.questions(split))[:2000]:
        plan = parse_question(WORLD, question.text)
        assert question.golden_answers == (WORLD.names[evaluate(plan)],), question
        assert question.golden_answers[0] not in question.text
        is_comparison = "Comparison" in repr(plan)
        assert is_comparison == (question.metadata["kind"] == "comparison")


def readings(text, templates_of, wanted=None):
    """Every way to understand ``text``: (relation, subject) pairs nested to an entity or a pair."""
    found = []
    for relation in RELATIONS:
        for template in templates_of(relation):
            match = re.fullmatch(re.escape(template).replace(r"\{s\}", "(.+)"), text)
            if match and wanted in (None, relation.object):
                found += [(relation.name, inner) for inner in subjects(match[1], relation.subject)]
    return found


def subjects(text, wanted):
    """Every way to understand a noun phrase that stands for an entity of type ``wanted``."""
    entity = WORLD.find(text)
    if entity is not None:
        return [entity] if WORLD.types[entity] == wanted else []
    found = readings(text, lambda relation: relation.phrases, wanted)
    for relation in WORLD.blueprint.by_subject[wanted]:
        for later, templates in enumerate((relation.earlier, relation.later)):
            for template in templates:
                pattern = re.escape(template).replace(r"\{a\}", "(.+)").replace(r"\{b\}", "(.+)")
                if match := re.fullmatch(pattern, text):
                    found.append((relation.name, later, match[1], match[2]))
    return found


def test_questions_can_be_understood_in_one_way_only():
    for question in WORLD.questions("test"):
        found = readings(question.text, lambda relation: relation.questions)
        assert len(set(found)) == 1, (question.text, found)


def test_questions_of_train_and_test_share_no_fact():
    used = {}
    for split in ("train", "test"):
        questions = WORLD.questions(split)
        used[split] = {fact for i in range(len(questions)) for fact in questions.facts(i)}
        assert {bool(WORLD.is_test[fact.subject]) for fact in used[split]} == {split == "test"}
    assert not used["train"] & used["test"]
    assert np.mean(WORLD.is_test) == pytest.approx(0.3, abs=0.03)


def test_questions_of_several_hops_have_no_shortcut():
    questions = WORLD.questions("test")
    for index in range(len(questions)):
        facts = questions.facts(index)
        if questions[index].metadata["kind"] in ("2-hop", "3-hop", "4-hop"):
            answer = facts[-1].object
            for fact in facts[:-1]:
                assert answer not in WORLD.facts[fact.subject]


def test_questions_are_found_by_id_and_index():
    questions = WORLD.questions("test")
    assert questions.get("world-small-0-test-17") == questions[17]
    for wrong in ("world-small-0-test-500", "world-small-0-train-1", "world-small-0-test-017", "x"):
        with pytest.raises(KeyError):
            questions.get(wrong)
    for wrong in (500, -1):
        with pytest.raises(IndexError):
            questions[wrong]


def test_relations_use_no_word_that_names_use():
    """Else a query could name an entity by accident."""
    pools = [words.FIRST, words.LAST, words.PLACE, words.COUNTRY, words.ADJECTIVE, words.NOUN]
    names = {word.lower() for pool in [*pools, words.ANIMAL] for word in pool}
    assert len(names) == sum(map(len, [*pools, words.ANIMAL])), "no word is in two pools"
    texts = [text for relation in RELATIONS for text in (*relation.templates, relation.cues)]
    assert not names & {token for text in texts for token in tokenize(text)}
