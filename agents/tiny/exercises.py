"""Exercises: what the base policy knows of language, apart from how to search.

Reading: a few documents, and what they say about this and that. Rewriting: what is left of a
question once somebody says who or what a description in it means. There is no prompt in them, no
decision and nothing to find: they teach what words mean, and to copy names.
"""

from __future__ import annotations

from agents.tiny.behaviours import NOT_READ, READ, harder_question, namesake
from zs_env.actions import SEARCH, tagged
from zs_env.documents import Document
from zs_env.keyed_random import Stream
from zs_env.prompts import render_information
from zs_env.world import World
from zs_env.world.graph import Fact
from zs_env.world.solver import Comparison, Lookup, Plan, parse_question
from zs_env.world.text import state

MAX_FACTS = 4
NUM_QUESTIONS = 6


def reading_exercise(world: World, draw: Stream) -> str:
    """A question, documents about a few subjects, what they say of it and of further questions."""
    subject = draw.integer(world.num_entities)
    pages = [_some_facts(world, subject, draw)]
    kind = draw.integer(4)
    if kind == 1:
        pages.append(_some_facts(world, draw.integer(world.num_entities), draw))
    elif kind > 1:  # what is easily mixed up: the same of a namesake
        other = namesake(world, subject, draw)
        pages.append([world.fact(other, fact.relation) for fact in draw.shuffled(pages[0])])
    has_titles = draw.integer(2)
    documents = []
    for facts in draw.shuffled(pages):
        text = " ".join(state(world, f, draw.integer(len(f.relation.statements))) for f in facts)
        documents.append(Document(text, world.names[facts[0].subject] if has_titles else ""))
    told = [fact for facts in pages for fact in facts]
    queries, findings = [], []
    for fact in draw.shuffled(told)[:NUM_QUESTIONS]:
        if draw.integer(6) == 0:
            fact = draw.choice(world.facts_of(fact.subject))
        queries.append(_query(world, Lookup(fact.relation, fact.subject), draw))
        findings.append(READ.format(what=world.names[fact.object]) if fact in told else NOT_READ)
    first = queries[0] + render_information(documents) + findings[0]
    further = [f"{query} {finding}" for query, finding in zip(queries, findings, strict=True)][1:]
    return "\n".join([first, *further])


def rewriting_exercise(world: World, draw: Stream) -> str:
    """A question, taken apart from the inside out; who is who is made up."""
    question = harder_question(world, draw).text
    plan = parse_question(world, question)
    assert plan is not None
    lines = [f"Question: {question}"]
    _take_apart(world, plan, draw, lines)
    return "\n".join(lines)


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
    lines.append(query + " " + READ.format(what=world.names[entity]))
    return entity


def _some_facts(world: World, subject: int, draw: Stream) -> list[Fact]:
    return draw.shuffled(world.facts_of(subject))[: 1 + draw.integer(MAX_FACTS)]


def _query(world: World, lookup: Lookup, draw: Stream) -> str:
    return tagged(SEARCH, draw.choice(lookup.wordings(world)))
