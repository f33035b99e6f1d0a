"""Scripted agents of the embedded world: between what a guess and what a faultless reader earns.

They play the episode of the method `search` by rote, and need no model. They know the grammar and
the names of the world that the questions are about, but not its facts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar

from zs_env.actions import ANSWER, INFORMATION, SEARCH, tagged
from zs_env.evaluation.methods.base import Method
from zs_env.evaluation.methods.search import act, begin_episode
from zs_env.evaluation.play import Play
from zs_env.prompts import PROMPT
from zs_env.rules import Limits
from zs_env.world import World, load_world
from zs_env.world.explorer import Explorer
from zs_env.world.guesser import BestGuess, RandomGuess, question_in
from zs_env.world.readers import CarefulReader, CarelessReader
from zs_env.world.solver import UNKNOWN, HopByHopSolver

UNTOLD = (0, "small")
"""World of questions that do not say which they are about, such as objects."""

Policy = Callable[[str], str]
"""Function from the transcript so far to the text of the next turn."""


class Scripted(Method):
    """Episode of a scripted policy. Write `policy`.

    Args:
        world_seed: seed of the world; by default that of the questions.
        world_size: size of the world; by default that of the questions.
    """

    needs_model = False

    def __init__(self, world_seed: int | None = None, world_size: str | None = None) -> None:
        self._seed = world_seed
        self._size = world_size
        self._policies: dict[tuple[int, str, int], Policy] = {}

    def policy(self, world: World, max_turns: int) -> Policy:
        """Return the policy for questions about ``world`` in episodes of ``max_turns``."""
        raise NotImplementedError

    async def play(self, play: Play) -> None:
        """Play the episode by rote."""
        policy = self.policy_of(play)
        episode = begin_episode(play, PROMPT, Limits(2**17, 2**12))
        while not episode.finished:
            await act(play, episode, policy(episode.transcript))
        play.take_outcome(episode)

    def policy_of(self, play: Play) -> Policy:
        """Return the policy of ``play``: by default, one for all plays about the same world."""
        seed, size = play.task.world or UNTOLD
        seed = seed if self._seed is None else self._seed
        size = self._size or size
        key = (seed, size, play.options.max_turns)
        if key not in self._policies:
            self._policies[key] = self.policy(load_world(seed, size), play.options.max_turns)
        return self._policies[key]


class RandomAnswer(Scripted):
    """Random name of the world, whatever is asked."""

    searches = False

    def policy(self, world: World, max_turns: int) -> Policy:
        """Return the guesser."""
        return RandomGuess(world)


class ScriptedDirect(Scripted):
    """Best answer without searching, learned from the train questions of the world."""

    searches = False

    def policy(self, world: World, max_turns: int) -> Policy:
        """Learn the guesses, in some seconds."""
        return _best_guess(world)


class ScriptedRAG(Scripted):
    """One search with the question; the answer if the documents state all that it needs."""

    def policy(self, world: World, max_turns: int) -> Policy:
        """Return a reader of one search."""
        solver = HopByHopSolver(world, max_turns)

        def turn(transcript: str) -> str:
            if f"<{INFORMATION}>\n" not in transcript:
                return tagged(SEARCH, question_in(transcript))
            found = solver.next_step(transcript, is_last=True)
            return tagged(ANSWER, world.names[found] if isinstance(found, int) else UNKNOWN)

        return turn


class Solver(Scripted):
    """Search for one missing fact after the other, and belief in what most documents say."""

    reader: ClassVar[type[HopByHopSolver]] = HopByHopSolver
    """Policy of the episode, which plans so and may believe otherwise."""

    def policy(self, world: World, max_turns: int) -> Policy:
        """Return the reader."""
        return self.reader(world, max_turns)


class Exploring(Solver):
    """The same, but queries are worded in many ways, and a share of them is wrong.

    To collect the searches that a simulation LLM is tuned on. The wording follows from question,
    repeat and seed.
    """

    def policy_of(self, play: Play) -> Policy:
        """Return a policy that draws its queries from the key of the episode."""
        solver = super().policy_of(play)
        assert isinstance(solver, HopByHopSolver)
        return Explorer(solver.world, solver.max_turns, play.episode_key)


class Careful(Solver):
    """The same, but a search is asked again until documents agree on what can be believed."""

    reader = CarefulReader


class Careless(Solver):
    """The same, but the first statement that sounds right is believed."""

    reader = CarelessReader


@lru_cache(maxsize=8)
def _best_guess(world: World) -> BestGuess:
    """Learn once for all tiers of a benchmark."""
    return BestGuess(world)
