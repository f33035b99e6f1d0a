"""Exercises that teach the base policy language, but not searching.

- Repeating: sentences, and the same sentences again in other orders.
- Reading: documents, and what they state about given facts.
- Rewriting: a question whose descriptions are replaced, one after another, by made-up entities.

Exercises hold no prompt, no decision and no answer to find. They teach what words mean, which
entity is meant, and copying of names.
"""

from __future__ import annotations

from agents.tiny.behaviours import NOT_READ, finding, harder_question, namesake
from zs_env.actions import SEARCH, tagged
from zs_env.documents import Document
from zs_env.keyed_random import Stream
from zs_env.prompts import render_information
from zs_env.world import World
from zs_env.world.graph import Fact
from zs_env.world.plans import Comparison, Lookup, Plan, parse_question
from zs_env.world.text import state

Exercise = list[tuple[str, bool]]
"""Pieces of text, each with whether it is learned. Documents and queries to read are not."""

MAX_FACTS = 4
MAX_OTHERS = 3
NUM_REPETITIONS = 2
NUM_QUESTIONS = 6


def repeating_exercise(world: World, draw: Stream) -> Exercise:
    """Make sentences about entities that are easily mixed up, and repeat them in other orders."""
    pages = _similar_pages(world, 1 + draw.integer(2), 1 + draw.integer(MAX_OTHERS), draw)
    sentences = [_state(world, fact, draw) for facts in pages for fact in facts]
    document = Document(" ".join(draw.shuffled(sentences)))
    repetitions = [" ".join(draw.shuffled(sentences)) for _ in range(NUM_REPETITIONS)]
    return [(render_information([document]), False), ("\n".join(repetitions), True)]


def reading_exercise(world: World, draw: Stream) -> Exercise:
    """Make documents, and queries with what the documents state.

    The first query comes before the documents, the others after them.
    """
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
        if draw.integer(6) == 0:  # any fact of the entity, which the documents may not state
            fact = draw.choice(world.facts_of(fact.subject))
        lookup = Lookup(fact.relation, fact.subject)
        query = tagged(SEARCH, draw.choice(lookup.wordings(world)))
        exercise.append((f"\n{query} " if number else query + information, False))
        exercise.append((finding(world, lookup, fact.object) if fact in told else NOT_READ, True))
    return exercise


def rewriting_exercise(world: World, draw: Stream) -> Exercise:
    """Take a question apart from the inside out, with made-up entities for its descriptions."""
    question = harder_question(world, draw).text
    plan = parse_question(world, question)
    assert plan is not None
    lines = [f"Question: {question}"]
    _take_apart(world, plan, draw, lines)
    return [("\n".join(lines), True)]


def _take_apart(world: World, plan: Plan, draw: Stream, lines: list[str]) -> int:
    """Add a line for each part of ``plan``; return the entity made up for the whole."""
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
    """Return facts of an entity, and the same relations of others of its type, often namesakes."""
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
