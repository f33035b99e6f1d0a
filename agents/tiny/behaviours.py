"""Episodes to imitate: a crowd that mostly searches badly, in worlds that nothing else uses.

The base policy learns words, tags and copying from them, and how often people do what. In most
turns somebody answers from nothing, stops too early, asks for the wrong thing or writes no action.
Who does what is drawn anew each turn, so no stretch of text gives a diligent author away.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zs_env.actions import ANSWER, SEARCH, THINK, tagged
from zs_env.documents import Document, SearchResult
from zs_env.engines import answer_batch
from zs_env.engines.world import WorldEngine
from zs_env.episode import Episode, Role
from zs_env.keyed_random import Stream
from zs_env.rules import Rules
from zs_env.world import World, load_world
from zs_env.world.solver import FOUND, NEEDED, NOT_UNDERSTOOD, HopByHopSolver, Lookup

# How often, in percent, somebody does what: in the first turn, later where a fact is missing, and
# where the answer is known.
FIRST = {"guess": 50, "search": 37, "ask anything": 8, "stray": 5}
MISSING = {"guess": 32, "search": 50, "ask anything": 13, "stray": 5}
KNOWN = {"answer": 72, "guess": 10, "ask anything": 13, "stray": 5}

MAX_NOISE = 0.5
LONG_SHARE = 0.3
"""Share of episodes with documents as real engines return them: longer, and with titles."""


def demonstrations(world_seed: int, first: int, count: int) -> Iterator[Episode]:
    """Finished episodes about the train questions ``first`` and following of a small world."""
    world = load_world(world_seed)
    engine = WorldEngine(world)
    solver = HopByHopSolver(world)
    questions = world.questions("train")
    for number in range(first, first + count):
        draw = Stream("demonstration", world_seed, number)
        yield _play(Episode(questions[number], **_setting(draw)), engine, solver, draw)


def _setting(draw: Stream) -> dict[str, Any]:
    """Documents and noise of one episode."""
    long = draw.integer(100) < 100 * LONG_SHARE
    rules = Rules(
        top_k=1 + draw.integer(2 if long else 3),
        document_words=20 + draw.integer(11) if long else 6 + draw.integer(9),
    )
    noise_probability = MAX_NOISE * draw.integer(101) / 100
    return {"rules": rules, "key": draw.integer(2**63), "noise_probability": noise_probability}


def _play(episode: Episode, engine: WorldEngine, solver: HopByHopSolver, draw: Stream) -> Episode:
    while not episode.finished:
        request = episode.act(_turn(episode, solver, draw))
        if request is not None:
            [result] = answer_batch(engine, [request])
            if episode.rules.document_words >= 20:
                result = _with_titles(result, solver.world, draw)
            episode.observe(result)
    return episode


def _turn(episode: Episode, solver: HopByHopSolver, draw: Stream) -> str:
    """What somebody writes next."""
    step = solver.next_step(episode.transcript)
    missing = MISSING if episode.turn else FIRST
    deed = _pick(KNOWN if isinstance(step, int) else missing, draw)
    if deed == "answer" and isinstance(step, int):
        return _answer(solver.world, step)
    if deed == "search" and isinstance(step, Lookup):
        return _search(solver.world, step, draw)
    if deed == "guess":
        return _answer(solver.world, _guess(episode, solver.world, draw))
    if deed == "ask anything":
        entity = draw.choice(_mentioned(episode, solver.world))
        if relations := solver.world.relations_of(entity):
            return _search(solver.world, Lookup(draw.choice(relations), entity), draw)
    return tagged(THINK, NOT_UNDERSTOOD) + draw.choice(("", f"<{SEARCH}>", tagged(SEARCH, "")))


def _pick(shares: dict[str, int], draw: Stream) -> str:
    return draw.choice([deed for deed, share in shares.items() for _ in range(share)])


def _answer(world: World, entity: int) -> str:
    return tagged(THINK, FOUND) + tagged(ANSWER, world.names[entity])


def _search(world: World, lookup: Lookup, draw: Stream) -> str:
    wordings = lookup.wordings(world)
    thought = NEEDED.format(what=draw.choice(wordings[: len(lookup.relation.phrases)]))
    return tagged(THINK, thought) + tagged(SEARCH, draw.choice(wordings))


def _guess(episode: Episode, world: World, draw: Stream) -> int:
    """Something that was mentioned, or anything of the type that is asked for."""
    if episode.turn and draw.integer(2):
        return draw.choice(_mentioned(episode, world))
    answer = world.find(episode.question.golden_answers[0])
    assert answer is not None
    span = world.spans[world.types[answer]]
    return span.start + draw.integer(len(span))


def _mentioned(episode: Episode, world: World) -> list[int]:
    """The entities that the question and the documents name."""
    texts = [s.text for s in episode.segments if s.role is Role.INFORMATION]
    return _entities(world, " ".join([episode.question.text, *texts]))


def _entities(world: World, text: str) -> list[int]:
    """The entities that ``text`` names."""
    words = text.translate(str.maketrans("", "", "?.,:()")).split()
    spans = (
        " ".join(words[start : start + length])
        for length in range(1, world.longest_name + 1)
        for start in range(len(words) - length + 1)
    )
    found = (world.find(span) for span in spans)
    return [entity for entity in found if entity is not None]


def _with_titles(result: SearchResult, world: World, draw: Stream) -> SearchResult:
    return SearchResult(
        tuple(
            Document(document.text, world.names[draw.choice(_entities(world, document.text))])
            for document in result.documents
        )
    )
