"""Episodes to imitate: those of a crowd that mostly fails, in worlds that nothing else uses.

The base policy learns words, tags and copying from them, and how frequent each behaviour is. The
crowd is a set of scripted behaviours: guessing, stopping too early, searching for the wrong thing,
writing no action, and searching well. A behaviour is drawn anew each turn, so earlier turns do not
predict a good one. Before some turns the crowd is told to search. From these turns the policy
learns to read and to query, but not to decide that a fact is lacking.

After a search the crowd says what the documents state, or that it is unknown. It believes neither
doubtful nor denied statements, nor a single dated one; of several dates it takes any.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from agents.tiny.pages import pages_of
from zs_env.actions import ANSWER, SEARCH, THINK, tagged
from zs_env.engines import checked_search
from zs_env.engines.world import WorldEngine
from zs_env.episode import Episode, Role
from zs_env.keyed_random import Stream
from zs_env.questions import Question
from zs_env.rules import Rules
from zs_env.world import World
from zs_env.world.noise import NATURAL
from zs_env.world.plans import Lookup, Need
from zs_env.world.readers import first_mention
from zs_env.world.solver import (
    FOUND,
    NOT_UNDERSTOOD,
    UNKNOWN,
    Found,
    HopByHopSolver,
    Step,
    claims,
    given_in,
    newest,
)

# Shares of the behaviours, in percent: in the first turn, in later turns that lack a fact, and in
# turns that know the answer.
FIRST = {"guess": 56, "search": 34, "ask anything": 5, "stray": 5}
MISSING = {"search": 62, "stop": 20, "guess": 5, "ask anything": 8, "stray": 5}
KNOWN = {"stop": 82, "guess": 5, "ask anything": 8, "stray": 5}

READ = "{what} is {name}."
NOT_READ = "Nothing new."
"""Thought of a turn that follows no search."""
LACKING = "I lack a fact."

TOLD_SHARES = (0.35, 0.5, 0.8)
"""Shares of turns lacking a fact in which the crowd is told to search for it, one an episode."""

MAX_NOISE = 0.6
MAX_TURNS = (5, 8, 15)
OTHER_WORDS_SHARE = 0.15
"""Share of searches that are worded otherwise than the question."""
PAGES_SHARE = 0.45
"""Share of episodes whose documents are passages of the corpus: longer, and with titles.

There are none in the hard world (`pages_of`).
"""


class Demonstration(NamedTuple):
    """A finished episode, and the turns, from 0, in which the crowd was told to search."""

    episode: Episode
    told: frozenset[int]


def demonstrations(
    world: World, first: int, count: int, credulity: float = 0.0
) -> Iterator[Demonstration]:
    """Yield ``count`` episodes about ``world`` from number ``first`` on, most of them hard.

    Args:
        world: world of the questions.
        first: number of the first episode.
        count: number of episodes.
        credulity: how easily the crowd is fooled (`CrowdReader`).
    """
    crowd = _Crowd(world, credulity)
    for number in range(first, first + count):
        draw = Stream("demonstration", world.seed, number)
        rules = Rules(
            max_turns=draw.choice(MAX_TURNS),
            top_k=1 + draw.integer(3),
            document_words=6 + draw.integer(13),
        )
        noise_probability = MAX_NOISE * draw.integer(101) / 100
        key = draw.integer(2**63)
        question = harder_question(world, draw)
        episode = Episode(question, rules=rules, key=key, noise_probability=noise_probability)
        yield Demonstration(episode, crowd.play(episode, draw))


def harder_question(world: World, draw: Stream) -> Question:
    """Return the one of two random train questions that takes more hops."""
    questions = world.questions("train")
    pair = [questions[draw.integer(len(questions))] for _ in range(2)]
    return max(pair, key=lambda question: int(question.metadata["hops"]))


def finding(world: World, need: Need, entity: int | None) -> str:
    """Return a thought which says that ``entity`` is what ``need`` asked for, or is unknown."""
    what = need.phrase(world)
    name = UNKNOWN if entity is None else world.names[entity]
    return READ.format(what=what[0].upper() + what[1:], name=name)


class CrowdReader(HopByHopSolver):
    """Solver that takes any of several dates of a fact for the newest, and believes none alone.

    Args:
        world: world of the questions.
        credulity: probability, for each search that does not state what it was for, of believing
            the first statement that sounds like it (`zs_env.world.readers.CarelessReader`).
        key: random key, which decides where it is credulous.
    """

    def __init__(self, world: World, credulity: float = 0.0, key: int = 0) -> None:
        super().__init__(world)
        self.credulity = credulity
        self.key = key

    def believe(self, need: Need, searches: list[Found], is_last: bool) -> int | None:
        """Return the entity to believe in for ``need``, or None to search for it."""
        if not self.credulity:
            return self._stated(need, searches)
        # What was believed once is believed for good, as the first of several searches decides.
        for count in range(1, len(searches) + 1):
            stated = self._stated(need, searches[:count])
            if stated is not None:
                return stated
            draw = Stream("credulity", self.key, count)
            if draw.integer(1000) < 1000 * self.credulity:
                entity = first_mention(self.world, need, searches[count - 1 : count])
                if entity is not None:
                    return entity
        return None

    def _stated(self, need: Need, searches: list[Found]) -> int | None:
        found = claims(self.world, need, searches)
        if need.relation.name not in self.world.blueprint.changing:
            return newest(found)
        years = sorted({year for year, _ in found})
        if len(years) < 2:
            return None
        return given_in(found, Stream("date", *years).choice(years))


class _Crowd:
    """Scripted author of episodes about ``world``, whose behaviour changes from turn to turn."""

    solver: CrowdReader
    """Reader of the episode that is played."""

    def __init__(self, world: World, credulity: float) -> None:
        self.world = world
        self.credulity = credulity
        self.engine = WorldEngine(world, NATURAL)
        self.pages = pages_of(world)

    def play(self, episode: Episode, draw: Stream) -> frozenset[int]:
        """Play ``episode`` to its end; return the turns in which the crowd was told to search."""
        self.solver = CrowdReader(self.world, self.credulity, draw.integer(2**63))
        told = set()
        told_share = draw.choice(TOLD_SHARES)
        pages = self.pages if draw.integer(100) < 100 * PAGES_SHARE else None
        asked = None
        while not episode.finished:
            step = self.solver.next_step(episode.transcript)
            if isinstance(step, Need) and draw.integer(100) < 100 * told_share:
                told.add(episode.turn)
                shares = {"search": 1}
            elif isinstance(step, Need):
                shares = MISSING if episode.turn else FIRST
            else:
                shares = KNOWN
            behaviour = draw.choice([name for name, share in shares.items() for _ in range(share)])
            text, asked = self.turn(episode, step, asked, behaviour, draw)
            request = episode.act(text)
            if request is None:
                continue
            if pages is not None and isinstance(asked, Lookup):
                episode.observe(pages.search(asked, request.noisy, draw))
            else:
                [result] = checked_search(self.engine, [request])
                episode.observe(result)
        return frozenset(told)

    def turn(
        self,
        episode: Episode,
        step: int | Step | None,
        asked: Need | None,
        behaviour: str,
        draw: Stream,
    ) -> tuple[str, Need | None]:
        """Write a turn.

        Args:
            episode: episode to continue.
            step: correct next step, by the solver.
            asked: last lookup that was searched for, if any.
            behaviour: key of `FIRST`, `MISSING` or `KNOWN`.
            draw: source of random numbers.

        Returns:
            The turn, and what it searches for, if anything.
        """
        read = None if asked is None else self.solver.read(asked, episode.transcript)
        seen = NOT_READ + " " if episode.turn else ""
        if asked is not None:
            seen = finding(self.world, asked, read) + " "
        if behaviour == "stop" and read is not None:
            return self.answer(seen, step if isinstance(step, int) else read), None
        if behaviour == "search" and isinstance(step, Need):
            again = step == asked  # the last search did not find it, so other words are needed
            other = again or draw.integer(100) < 100 * OTHER_WORDS_SHARE
            return self.search(seen, step, draw if other else None), step
        if behaviour == "ask anything":
            entity = draw.choice(self.mentioned(episode))
            if relations := self.world.relations_of(entity):
                lookup = Lookup(draw.choice(relations), entity)
                return self.search(seen, lookup, draw), lookup
        if behaviour in ("guess", "stop"):
            return self.answer("", self.guess(episode, draw)), None
        stray = draw.choice(("", f"<{SEARCH}>", tagged(SEARCH, "")))
        return tagged(THINK, NOT_UNDERSTOOD) + stray, None

    def answer(self, seen: str, entity: int) -> str:
        """Write a turn that answers ``entity``."""
        return tagged(THINK, seen + FOUND) + tagged(ANSWER, self.world.names[entity])

    def search(self, seen: str, need: Need, draw: Stream | None) -> str:
        """Write a turn that searches, in the question's words; with ``draw``, in random ones."""
        wordings = need.wordings(self.world)
        query = wordings[0] if draw is None else draw.choice(wordings)
        return tagged(THINK, seen + LACKING) + tagged(SEARCH, query)

    def guess(self, episode: Episode, draw: Stream) -> int:
        """Return an entity that was mentioned, or any entity of the answer's type."""
        if episode.turn and draw.integer(2):
            return draw.choice(self.mentioned(episode))
        answer = self.world.find(episode.question.golden_answers[0])
        assert answer is not None
        span = self.world.spans[self.world.types[answer]]
        return span.start + draw.integer(len(span))

    def mentioned(self, episode: Episode) -> list[int]:
        """Return the entities that the question and the documents name."""
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
