"""Episodes to imitate: a crowd that mostly fails, in worlds that nothing else uses.

The base policy learns words, tags and copying from them, and how often people do what. Sooner or
later somebody answers from nothing, stops too early, asks for the wrong thing or writes no action.
Who does what is drawn anew each turn, so no stretch of text gives a diligent author away. Before
some turns the crowd is told what to search for. From those the policy learns to read and to ask;
that a fact is lacking, and so whether to ask, it does not learn there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from zs_env.actions import ANSWER, SEARCH, THINK, tagged
from zs_env.documents import Document, SearchResult
from zs_env.engines import checked_search
from zs_env.engines.world import WorldEngine
from zs_env.episode import Episode, Role
from zs_env.keyed_random import Stream
from zs_env.questions import Question
from zs_env.rules import Rules
from zs_env.world import World, load_world
from zs_env.world.solver import FOUND, NOT_UNDERSTOOD, HopByHopSolver, Lookup
from zs_env.world.text import corpus, statements

# How often, in percent, somebody does what: in the first turn, later where a fact is missing, and
# where the answer is known.
FIRST = {"guess": 56, "search": 34, "ask anything": 5, "stray": 5}
MISSING = {"search": 62, "stop": 20, "guess": 5, "ask anything": 8, "stray": 5}
KNOWN = {"stop": 82, "guess": 5, "ask anything": 8, "stray": 5}

READ = "{what} is {name}."
NOT_READ = "Nothing new."
LACKING = "I lack a fact."

TOLD_SHARE = 0.5
"""Share of turns that lack a fact in which somebody is told to search for it."""

MAX_NOISE = 0.5
OTHER_WORDS_SHARE = 0.15
"""Share of searches that do not take over the question's words."""
PAGES_SHARE = 0.45
"""Share of episodes with passages of an encyclopaedia for documents: longer, and with titles."""


class Demonstration(NamedTuple):
    """A finished episode, and the turns, from 0, in which somebody was told to search."""

    episode: Episode
    told: frozenset[int]


def demonstrations(world_seed: int, first: int, count: int) -> Iterator[Demonstration]:
    """Episodes ``first`` and following about a small world, most of them about hard questions."""
    world = load_world(world_seed)
    crowd = _Crowd(world)
    for number in range(first, first + count):
        draw = Stream("demonstration", world_seed, number)
        rules = Rules(top_k=1 + draw.integer(3), document_words=6 + draw.integer(13))
        noise_probability = MAX_NOISE * draw.integer(101) / 100
        key = draw.integer(2**63)
        question = harder_question(world, draw)
        episode = Episode(question, rules=rules, key=key, noise_probability=noise_probability)
        yield Demonstration(episode, crowd.play(episode, draw))


def harder_question(world: World, draw: Stream) -> Question:
    """The one of two train questions that takes more hops."""
    questions = world.questions("train")
    pair = [questions[draw.integer(len(questions))] for _ in range(2)]
    return max(pair, key=lambda question: int(question.metadata["hops"]))


def namesake(world: World, entity: int, draw: Stream) -> int:
    """Another entity of the same type, with a word of the same name if there is one."""
    span = world.spans[world.types[entity]]
    words = world.names[entity].lower().split()
    similar = [e for word in words for e in world.by_word[word] if e in span and e != entity]
    if similar:
        return draw.choice(similar)
    return span.start + (entity - span.start + 1 + draw.integer(len(span) - 1)) % len(span)


def finding(world: World, lookup: Lookup, entity: int) -> str:
    """A thought: what ``lookup`` asked for is ``entity``."""
    what = lookup.phrase(world)
    return READ.format(what=what[0].upper() + what[1:], name=world.names[entity])


class _Crowd:
    """Plays episodes about ``world``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.solver = HopByHopSolver(world)
        self.engine = WorldEngine(world)
        self.pages: dict[str, list[Document]] = defaultdict(list)
        for passage in corpus(world):
            self.pages[passage.title].append(Document(passage.text, passage.title))

    def play(self, episode: Episode, draw: Stream) -> frozenset[int]:
        """Play ``episode`` to its end; the turns in which somebody was told to search."""
        told = set()
        reads_pages = draw.integer(100) < 100 * PAGES_SHARE
        asked = None
        while not episode.finished:
            step = self.solver.next_step(episode.transcript)
            if isinstance(step, Lookup) and draw.integer(100) < 100 * TOLD_SHARE:
                told.add(episode.turn)
                shares = {"search": 1}
            elif isinstance(step, Lookup):
                shares = MISSING if episode.turn else FIRST
            else:
                shares = KNOWN
            deed = draw.choice([deed for deed, share in shares.items() for _ in range(share)])
            text, asked = self.turn(episode, step, asked, deed, draw)
            request = episode.act(text)
            if request is None:
                continue
            if reads_pages and asked is not None:
                episode.observe(self.read_pages(asked, draw))
            else:
                [result] = checked_search(self.engine, [request])
                episode.observe(result)
        return frozenset(told)

    def turn(
        self,
        episode: Episode,
        step: int | Lookup | None,
        asked: Lookup | None,
        deed: str,
        draw: Stream,
    ) -> tuple[str, Lookup | None]:
        """What somebody writes who does ``deed``, and what it asks for.

        ``step`` would be right, and ``asked`` was asked for last.
        """
        read = None if asked is None else self.solver.read(asked, episode.transcript)
        seen = NOT_READ + " " if episode.turn else ""
        if asked is not None and read is not None:
            seen = finding(self.world, asked, read) + " "
        if deed == "stop" and read is not None:
            return self.answer(seen, step if isinstance(step, int) else read), None
        if deed == "search" and isinstance(step, Lookup):
            again = step == asked
            other = again or draw.integer(100) < 100 * OTHER_WORDS_SHARE
            return self.search(seen, step, draw if other else None), step
        if deed == "ask anything":
            entity = draw.choice(self.mentioned(episode))
            if relations := self.world.relations_of(entity):
                lookup = Lookup(draw.choice(relations), entity)
                return self.search(seen, lookup, draw), lookup
        if deed in ("guess", "stop"):
            return self.answer("", self.guess(episode, draw)), None
        stray = draw.choice(("", f"<{SEARCH}>", tagged(SEARCH, "")))
        return tagged(THINK, NOT_UNDERSTOOD) + stray, None

    def answer(self, seen: str, entity: int) -> str:
        """A turn that answers ``entity``."""
        return tagged(THINK, seen + FOUND) + tagged(ANSWER, self.world.names[entity])

    def search(self, seen: str, lookup: Lookup, draw: Stream | None) -> str:
        """A turn that searches, in the question's words or in any."""
        wordings = lookup.wordings(self.world)
        query = wordings[0] if draw is None else draw.choice(wordings)
        return tagged(THINK, seen + LACKING) + tagged(SEARCH, query)

    def guess(self, episode: Episode, draw: Stream) -> int:
        """Something that was mentioned, or anything of the type that is asked for."""
        if episode.turn and draw.integer(2):
            return draw.choice(self.mentioned(episode))
        answer = self.world.find(episode.question.golden_answers[0])
        assert answer is not None
        span = self.world.spans[self.world.types[answer]]
        return span.start + draw.integer(len(span))

    def mentioned(self, episode: Episode) -> list[int]:
        """The entities that the question and the documents name."""
        texts = [s.text for s in episode.segments if s.role is Role.INFORMATION]
        text = " ".join([episode.question.text, *texts])
        words = text.translate(str.maketrans("", "", "?.,:()")).split()
        spans = (
            " ".join(words[start : start + length])
            for length in range(1, self.world.longest_name + 1)
            for start in range(len(words) - length + 1)
        )
        found = (self.world.find(span) for span in spans)
        return [entity for entity in found if entity is not None]

    def read_pages(self, lookup: Lookup, draw: Stream) -> SearchResult:
        """The passage that states ``lookup``, mostly first, and another.

        The other is of the same page, or states the same of a namesake.
        """
        right = self.passage(lookup.subject, lookup)
        others = [d for d in self.pages[right.title] if d is not right]
        if draw.integer(2) or not others:
            others = [self.passage(namesake(self.world, lookup.subject, draw), lookup)]
        found = (right, draw.choice(others))
        return SearchResult(found if draw.integer(3) else found[::-1])

    def passage(self, subject: int, lookup: Lookup) -> Document:
        """The passage that states of ``subject`` what ``lookup`` asks for."""
        said = statements(self.world, self.world.fact(subject, lookup.relation))
        page = self.pages[self.world.names[subject]]
        return next(d for d in page if any(sentence in d.text for sentence in said))
