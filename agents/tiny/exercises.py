"""Exercises: what the base policy knows of language, apart from how to search.

Repeating: sentences, and the same again in another order. Reading: documents, and what they say
about this and that. Rewriting: what is left of a question once somebody says who or what a
description in it means. There is no prompt in them, no decision and nothing to find: they teach
what words mean, to tell who is meant, and to copy names.
"""

from __future__ import annotations

from agents.tiny.behaviours import NOT_READ, finding, harder_question, namesake
from zs_env.actions import SEARCH, tagged
from zs_env.documents import Document
from zs_env.keyed_random import Stream
from zs_env.prompts import render_information
from zs_env.world import World
from zs_env.world.graph import Fact
from zs_env.world.solver import Comparison, Lookup, Plan, parse_question
from zs_env.world.text import state

Exercise = list[tuple[str, bool]]
"""Pieces of text, and whether they are learned. Documents and queries to read are not."""

MAX_FACTS = 4
MAX_OTHERS = 3
NUM_REPETITIONS = 2
NUM_QUESTIONS = 6


def repeating_exercise(world: World, draw: Stream) -> Exercise:
    """Sentences about entities that are easily mixed up, and the same in other orders."""
    pages = _similar_pages(world, 1 + draw.integer(2), 1 + draw.integer(MAX_OTHERS), draw)
    sentences = [_state(world, fact, draw) for facts in pages for fact in facts]
    document = Document(" ".join(draw.shuffled(sentences)))
    repetitions = [" ".join(draw.shuffled(sentences)) for _ in range(NUM_REPETITIONS)]
    return [(render_information([document]), False), ("\n".join(repetitions), True)]


def reading_exercise(world: World, draw: Stream) -> Exercise:
    """Documents, and questions with what the documents say: one before them, the rest after."""
    num_others = draw.integer(1 + MAX_OTHERS)
    num_facts = 1 + draw.integer(MAX_FACTS if num_others < 2 else 2)
    pages = _similar_pages(world, num_facts, num_others, draw)
    has_titles = draw.integer(2)
    documents = []
    for facts in pages:
        text = " ".join(_state(world, fact, draw) for fact in draw.shuffled(facts))
        documents.append(Document(text, world.names[facts[0].subject] if has_titles else ""))
    information = render_information(draw.shuffled(documents))
    told = [fact for facts in pages for fact in facts]
    exercise = []
    for number, fact in enumerate(draw.shuffled(told)[:NUM_QUESTIONS]):
        if draw.integer(6) == 0:
            fact = draw.choice(world.facts_of(fact.subject))
        lookup = Lookup(fact.relation, fact.subject)
        query = tagged(SEARCH, draw.choice(lookup.wordings(world)))
        exercise.append((f"\n{query} " if number else query + information, False))
        exercise.append((finding(world, lookup, fact.object) if fact in told else NOT_READ, True))
    return exercise


def rewriting_exercise(world: World, draw: Stream) -> Exercise:
    """A question, taken apart from the inside out; who is who is made up."""
    question = harder_question(world, draw).text
    plan = parse_question(world, question)
    assert plan is not None
    lines = [f"Question: {question}"]
    _take_apart(world, plan, draw, lines)
    return [("\n".join(lines), True)]


def _take_apart(world: World, plan: Plan, draw: Stream, lines: list[str]) -> int:
    """Add a line for each part of ``plan``; the entity that it is said to be."""
    if isinstance(plan, int):
        return plan
    if isinstance(plan, Comparison):
        entities = (plan.first, plan.second)
        years = [_make_up(world, Lookup(plan.relation, e), draw, lines) for e in entities]
        return entities[int((years[1] > years[0]) == plan.later)]
    subject = _take_apart(world, plan.subject, draw, lines)
    return _make_up(world, Lookup(plan.relation, subject, plan.template), draw, lines)


def _make_up(world: World, lookup: Lookup, draw: Stream, lines: list[str]) -> int:
    span = world.spans[lookup.relation.object]
    entity = span.start + draw.integer(len(span))
    query = tagged(SEARCH, lookup.wordings(world)[0])
    lines.append(query + " " + finding(world, lookup, entity))
    return entity


def _similar_pages(world: World, num_facts: int, num_others: int, draw: Stream) -> list[list[Fact]]:
    """Facts of an entity, and the same of others of its type, most of them namesakes."""
    subject = draw.integer(world.num_entities)
    facts = draw.shuffled(world.facts_of(subject))[:num_facts]
    span = world.spans[world.types[subject]]
    subjects = [subject]
    for _ in range(num_others):
        mixed_up = namesake(world, subject, draw) if draw.integer(3) else draw.choice(span)
        subjects.append(mixed_up)
    return [[world.fact(each, fact.relation) for fact in facts] for each in dict.fromkeys(subjects)]


def _state(world: World, fact: Fact, draw: Stream) -> str:
    return state(world, fact, draw.integer(len(fact.relation.statements)))
