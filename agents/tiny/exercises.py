"""Exercises that teach the base policy language, but not searching.

- Repeating: sentences, and the same sentences again in other orders.
- Reading: documents, and what they state about given facts, if anything.
- Searching: queries, what the engine finds, useful or noisy, and what that states.
- Rewriting: a question whose descriptions are replaced, one after another, by made-up entities.

Exercises hold no prompt, no decision and no answer to find. They teach what words mean, which
entity is meant, and copying of names.
"""

from __future__ import annotations

from agents.tiny.behaviours import CrowdReader, finding, harder_question
from agents.tiny.pages import pages_of
from zs_env.actions import SEARCH, THINK, tagged
from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines.world import WorldEngine
from zs_env.keyed_random import Stream
from zs_env.prompts import render_information
from zs_env.world import World, marks
from zs_env.world.explorer import namesake
from zs_env.world.graph import Fact
from zs_env.world.noise import BESIDE, CONTRADICTED, DATED, HEDGED, NATURAL, NOISE_KINDS
from zs_env.world.plans import Comparison, Description, Lookup, Need, Plan, parse_question
from zs_env.world.schema import PERSON
from zs_env.world.text import all_versions, state, tell
from zs_env.world.words import EVENT_YEARS

Exercise = list[tuple[str, bool]]
"""Pieces of text, each with whether it is learned. Documents and queries to read are not."""

MAX_FACTS = 4
MAX_OTHERS = 3
NUM_REPETITIONS = 2
NUM_QUESTIONS = 6
NUM_SEARCHES = 4


def repeating_exercise(world: World, draw: Stream) -> Exercise:
    """Make sentences about entities that are easily mixed up, and repeat them in other orders."""
    pages = _similar_pages(world, 1 + draw.integer(2), 1 + draw.integer(MAX_OTHERS), draw)
    sentences = [
        sentence
        for facts in pages
        for fact in facts
        for sentence in (_told if draw.integer(3) else _not_told)(world, fact, draw)
    ]
    document = Document(" ".join(draw.shuffled(sentences)))
    repetitions = [" ".join(draw.shuffled(sentences)) for _ in range(NUM_REPETITIONS)]
    return [(render_information([document]), False), ("\n".join(repetitions), True)]


def reading_exercise(world: World, draw: Stream) -> Exercise:
    """Make documents, and queries with what the documents state; of half of them it is nothing.

    The first query comes before the documents, the others after them. What is not stated is left
    out, doubted, denied or dated, and often stated about a namesake.
    """
    num_others = draw.integer(1 + MAX_OTHERS)
    num_facts = 1 + draw.integer(MAX_FACTS if num_others < 2 else 2)
    has_titles = draw.integer(2)
    told: list[Fact] = []
    untold: list[Fact] = []
    documents = []
    for facts in _similar_pages(world, num_facts, num_others, draw):
        sentences = []
        for fact in facts:
            is_told = draw.integer(2) == 1
            if world.versions(fact) is None:  # dates are not to be compared
                (told if is_told else untold).append(fact)
            sentences += _told(world, fact, draw) if is_told else _not_told(world, fact, draw)
        title = world.names[facts[0].subject] if has_titles else ""
        documents.append(Document(" ".join(draw.shuffled(sentences)), title))
    information = render_information(draw.shuffled([d for d in documents if d.text]))
    asked = draw.shuffled(told)[: NUM_QUESTIONS // 2] + draw.shuffled(untold)[: NUM_QUESTIONS // 2]
    if not asked:  # only facts that changed, or nothing
        return reading_exercise(world, draw)
    exercise = []
    for number, fact in enumerate(draw.shuffled(asked)):
        lookup = Lookup(fact.relation, fact.subject)
        query = tagged(SEARCH, draw.choice(lookup.wordings(world)))
        exercise.append((f"\n{query} " if number else query + information, False))
        exercise.append((finding(world, lookup, fact.object if fact in told else None), True))
    return exercise


def searching_exercise(world: World, draw: Stream) -> Exercise:
    """Make searches of the engine or for pages, each with what its documents state, if anything.

    Half of the engine's are noisy, of the others, as of a real engine, one in ten.
    """
    exercise = []
    reader = CrowdReader(world)
    for _ in range(NUM_SEARCHES):
        relation = draw.choice(world.relations)
        fact = world.fact(draw.choice(world.spans[relation.subject]), relation)
        need: Need = Lookup(fact.relation, fact.subject)
        templates = world.blueprint.descriptions.get(fact.relation.name)
        if templates and draw.integer(2):
            word = world.names[fact.subject].split()[-1]
            need = Description(fact.relation, word, fact.object, draw.choice(templates))
        query = draw.choice(need.wordings(world))
        result = _search(world, need, query, draw)
        turn = tagged(THINK, "") + tagged(SEARCH, query) + render_information(result.documents)
        exercise.append((tagged(SEARCH, query) + render_information(result.documents), False))
        exercise.append((f"<{THINK}>" + finding(world, need, reader.read(need, turn)), True))
    return exercise


def _search(world: World, need: Need, query: str, draw: Stream) -> SearchResult:
    """Search the pages or the engine, whose noise is natural, or all of a kind."""
    pages = pages_of(world)
    if pages is not None and isinstance(need, Lookup) and draw.integer(3):
        return pages.search(need, draw.integer(10) == 0, draw)
    kind = draw.choice(NOISE_KINDS[1:])  # a plain falsehood is as good as a fact
    request = SearchRequest(
        query,
        query,
        ("",),
        noisy=draw.integer(2) == 1,
        top_k=1 + draw.integer(3),
        document_words=6 + draw.integer(13),
        key=draw.integer(2**63),
    )
    [result] = WorldEngine(world, NATURAL if draw.integer(2) else {kind: 1}).search([request])
    return result


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
    if isinstance(plan, Description):
        people = [p for p in world.spans[PERSON] if plan.word in world.names[p].split()]
        return _write_down(world, plan, draw.choice(people), lines)
    if isinstance(plan, Comparison):
        entities = (plan.first, plan.second)
        years = [_make_up(world, Lookup(plan.relation, e), draw, lines) for e in entities]
        return entities[int((years[1] > years[0]) == plan.later)]
    subject = _take_apart(world, plan.subject, draw, lines)
    return _make_up(world, Lookup(plan.relation, subject, plan.template), draw, lines)


def _make_up(world: World, lookup: Lookup, draw: Stream, lines: list[str]) -> int:
    return _write_down(world, lookup, draw.choice(world.spans[lookup.relation.object]), lines)


def _write_down(world: World, need: Need, entity: int, lines: list[str]) -> int:
    lines.append(tagged(SEARCH, need.wordings(world)[0]) + " " + finding(world, need, entity))
    return entity


def _similar_pages(world: World, num_facts: int, num_others: int, draw: Stream) -> list[list[Fact]]:
    """Return facts of an entity, and the same relations of others of its type, often namesakes."""
    span = world.spans[draw.choice(world.relations).subject]
    subject = draw.choice(span)
    facts = draw.shuffled(world.facts_of(subject))[:num_facts]
    subjects = [subject]
    for _ in range(num_others):
        mixed_up = namesake(world, subject, draw) if draw.integer(3) else draw.choice(span)
        subjects.append(mixed_up)
    return [[world.fact(each, fact.relation) for fact in facts] for each in dict.fromkeys(subjects)]


def _told(world: World, fact: Fact, draw: Stream) -> list[str]:
    """Return sentences that state ``fact`` so that it can be believed."""
    return [_state(world, version, draw) for version in draw.shuffled(all_versions(world, fact))]


def _not_told(world: World, fact: Fact, draw: Stream) -> list[str]:
    """Return sentences that do not state ``fact``, or none."""
    kind = draw.choice((BESIDE, HEDGED, DATED, CONTRADICTED))
    if kind == BESIDE:
        return []
    wrong = fact._replace(object=draw.choice(world.object_range(fact.relation)))
    sentence = state(world, wrong, draw.integer(len(fact.relation.statements)))
    if kind == HEDGED:
        return [marks.hedged(sentence, draw.integer(len(marks.HEDGES)))]
    year = draw.choice(EVENT_YEARS)
    return [(marks.dated if kind == DATED else marks.corrected)(sentence, year)]


def _state(world: World, fact: Fact, draw: Stream) -> str:
    return tell(world, fact, draw.integer(len(fact.relation.statements)))
