"""What worlds of each size are made of: those that are in use stay as they are; the tiny one."""

from __future__ import annotations

from hashlib import blake2b
from itertools import islice

import gymnasium as gym
import pytest

from benchmarks.human_queries import HUMAN_QUERIES
from tests.helpers import all_facts
from zs_env import prompts
from zs_env.actions import EMPTY_QUERY, NO_ACTION
from zs_env.documents import SearchRequest
from zs_env.engines import load_engine
from zs_env.rewards import normalize_answer
from zs_env.world import load_world
from zs_env.world.linker import read_query
from zs_env.world.plans import Hop, parse_question
from zs_env.world.sizes import SIZES
from zs_env.world.solver import HopByHopSolver
from zs_env.world.text import corpus, statements, tokenize, vocabulary

PINS = {
    "small": "eb07a98d34fb6dcc3a1855a91b7071d3",
    "medium": "d6cf7810da989d2e69d32dfff0a21d9c",
    "large": "2766c029eb56f0369c87aaaa4050b49e",
}
"""Size -> `fingerprint` of the world of seed 0, as it was before there was a size ``tiny``."""

TINY = load_world(0, "tiny")
every_seed = pytest.mark.parametrize("seed", range(5))
every_engine = pytest.mark.parametrize("engine", ["world", "bm25"])


def requests(world):
    """200 searches: for whole questions, phrasings and misspelt names; half of them noisy."""
    for index in range(200):
        questions = world.questions("train" if index % 3 else "test")
        question, fact = questions[index], questions.facts(index)[-1]
        name = world.names[fact.subject]
        phrase = fact.relation.phrases[index % 3].format(s=name)
        query = (question.text, phrase, name[:-1], phrase.lower().replace("city", "place"))
        yield SearchRequest(
            query[index % 4], question.text, question.golden_answers, bool(index % 2), key=index
        )


def fingerprint(size):
    """A hash of all names and facts, and of 200 questions of each split, documents and passages."""
    world = load_world(0, size)
    content = blake2b(digest_size=16)

    def add(thing):
        content.update(repr(thing).encode())

    add((world.names, world.types, world.spans))
    add((world.facts.shape, world.facts.dtype, world.is_test.shape))
    content.update(world.facts.tobytes() + world.is_test.tobytes())
    for split in ("train", "test"):
        questions = world.questions(split)
        add(len(questions))
        for question in islice(questions, 200):
            add((question.id, question.text, question.golden_answers, question.metadata))
    for passage in islice(corpus(world), 200):
        add(tuple(passage))
    for result in load_engine("world", 0, size).search(list(requests(world))):
        add([document.text for document in result.documents])
    return content.hexdigest()


@pytest.mark.parametrize("size", PINS)
def test_world_of_each_size_is_what_it_was(size):
    assert fingerprint(size) == PINS[size]


def test_vocabulary_and_its_order_are_what_they_were():
    """The weights of the bundled policy are rows in this order.

    The first 1,033 are those of policies that were made before the hard world.
    """
    old, now = "f5b293612f118a98aefaf72a7433aeb6", "6a406894e6a741ce57b2aa492a8f04a0"
    for size in (*PINS, "hard"):
        words = vocabulary(size)
        assert blake2b(" ".join(words[:1033]).encode(), digest_size=16).hexdigest() == old
        assert blake2b(" ".join(words).encode(), digest_size=16).hexdigest() == now
    assert vocabulary() == vocabulary("small")


@pytest.mark.parametrize("size", SIZES)
def test_blueprint_lists_types_without_relations_last(size):
    """Entities are numbered in this order, and those with facts are the first `num_entities`."""
    blueprint, world = SIZES[size], load_world(0, size)
    has_facts = [bool(blueprint.by_subject[entity_type]) for entity_type in blueprint.counts]
    assert has_facts == sorted(has_facts, reverse=True)
    assert all(world.facts_of(entity) for entity in range(0, world.num_entities, 97))
    assert not any(map(world.facts_of, range(world.num_entities, len(world.names))))


@every_seed
def test_tiny_world_is_made_of_pairs_of_names(seed):
    world = load_world(seed, "tiny")
    assert [len(span) for span in world.spans.values()] == [144, 16, 12]
    assert world.num_entities == 144 and len(set(world.names)) == 172
    assert [normalize_answer(name) for name in world.names] == [n.lower() for n in world.names]
    assert {len(name.split()) for name in world.names[144:]} == {1}
    assert [relation.name for relation in world.relations] == [
        "birthplace",
        "residence",
        "employer",
    ]
    for fact in all_facts(world):
        assert world.types[fact.object] == fact.relation.object


@every_seed
def test_tiny_questions_ask_every_fact_in_every_phrasing_once(seed):
    world = load_world(seed, "tiny")
    facts = {}
    for split in ("train", "test"):
        questions = world.questions(split)
        facts[split] = {questions.facts(index)[0] for index in range(len(questions))}
        asked = {question.text for question in questions}
        assert len(asked) == len(questions) == 2 * len(facts[split])
        assert asked == {
            template.format(s=world.names[fact.subject])
            for fact in facts[split]
            for template in fact.relation.questions
        }
        assert {question.metadata["kind"] for question in questions} == {"1-hop"}
        for question in questions:
            assert questions.get(question.id) is question
            plan = parse_question(world, question.text)
            assert isinstance(plan, Hop) and isinstance(plan.subject, int)
            answer = world.fact(plan.subject, plan.relation).object
            assert question.golden_answers == (world.names[answer],)
    assert not facts["train"] & facts["test"]
    assert facts["train"] | facts["test"] == set(all_facts(world))


@every_seed
def test_tiny_test_questions_name_words_that_train_questions_have(seed):
    """Else copying them could not be learned."""
    world = load_world(seed, "tiny")
    seen = {
        split: {
            token
            for question in world.questions(split)
            for token in tokenize(f"{question.text} {question.golden_answers[0]}")
        }
        for split in ("train", "test")
    }
    assert seen["test"] <= seen["train"]


def test_tiny_questions_are_mixed():
    kinds = [TINY.questions("train").facts(index)[0].relation.name for index in range(20)]
    assert len(TINY.questions("train")) == 600 and len(TINY.questions("test")) == 264
    assert len(set(kinds)) == 3 and kinds != sorted(kinds)


def test_tiny_vocabulary_is_closed_and_fits_into_128_tokens():
    known = set(vocabulary("tiny"))
    assert len(known) + 3 <= 128 and known < set(vocabulary())
    world = load_world(4, "tiny")
    texts = [*world.names, prompts.render_prompt(prompts.TINY_PROMPT, "")]
    texts += [template for relation in world.relations for template in relation.templates]
    texts += [question.text for split in ("train", "test") for question in world.questions(split)]
    texts += [prompts.render_correction(reason) for reason in (EMPTY_QUERY, NO_ACTION)]
    texts += [prompts.render_information([])]
    for question in world.questions("test"):
        for engine, noisy in (("world", False), ("world", True), ("bm25", False)):
            request = SearchRequest(question.text, "?", question.golden_answers, noisy, top_k=5)
            [result] = load_engine(engine, 4, "tiny").search([request])
            texts.append(prompts.render_information(result.documents))
    fields = {token for text in ("{s}", "{o}") for token in tokenize(text)}
    assert not {token for text in texts for token in tokenize(text)} - known - fields


@every_engine
@pytest.mark.parametrize("prompt_template", [prompts.PROMPT, prompts.TINY_PROMPT])
def test_tiny_test_questions_are_solved_in_words_of_the_vocabulary(engine, prompt_template):
    env = gym.make(
        "ZeroSearch-v0",
        split="test",
        engine=engine,
        world_size="tiny",
        noise="constant",
        noise_end=0.0,
        prompt_template=prompt_template,
    )
    solver, transcripts = HopByHopSolver(TINY), []
    for question in TINY.questions("test"):
        observation, _ = env.reset(seed=0, options={"question": question.id})
        terminated = truncated = False
        while not (terminated or truncated):
            observation, reward, terminated, truncated, _ = env.step(solver(observation))
        assert reward == 1.0, observation
        transcripts.append(observation)
    size = "tiny" if prompt_template == prompts.TINY_PROMPT else "small"
    assert set(vocabulary(size)).issuperset(tokenize(" ".join(transcripts)))


def test_tiny_engine_understands_what_people_type():
    for relation in TINY.relations:
        for entity in range(0, TINY.num_entities, 7):
            name = TINY.names[entity].lower()
            for query in (*HUMAN_QUERIES[relation.name], *relation.phrases, *relation.questions):
                text = query.format(s=name)
                assert read_query(TINY, text).asked == [TINY.fact(entity, relation)], text


@pytest.mark.parametrize("query", [TINY.names[150], "Who works for Bell?", "xyzzy", "director"])
@pytest.mark.parametrize("noisy", [False, True])
def test_tiny_engine_answers_a_query_that_names_nobody(query, noisy):
    """Cities and companies have no facts of their own here, as years have none anywhere."""
    question = TINY.questions("test")[0]
    engine = load_engine("world", 0, "tiny")
    request = SearchRequest(query, question.text, question.golden_answers, noisy)
    [result] = engine.search([request])
    assert len(result.documents) == 5
    assert all(question.golden_answers[0] not in document.text for document in result.documents)


def test_tiny_documents_are_useful_or_noisy_as_asked():
    engine = load_engine("world", 0, "tiny")
    questions = TINY.questions("test")
    for index in range(len(questions)):
        question, [fact] = questions[index], questions.facts(index)
        for noisy in (False, True):
            request = SearchRequest(
                question.text, question.text, question.golden_answers, noisy, document_words=8
            )
            for document in engine.search([request])[0].documents:
                found = any(sentence in document.text for sentence in statements(TINY, fact))
                assert found != noisy
                assert (question.golden_answers[0] in document.text) != noisy
