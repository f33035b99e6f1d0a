"""The scripted solver of the embedded world: it shows what can be earned, and needs no model."""

from __future__ import annotations

from zs_env.evaluation.methods.base import Method
from zs_env.evaluation.methods.search import act, begin_episode
from zs_env.evaluation.play import Play
from zs_env.prompts import PROMPT
from zs_env.rules import Limits
from zs_env.world import load_world
from zs_env.world.solver import HopByHopSolver


class Solver(Method):
    """Solver of the questions of the embedded world; it answers others with "unknown".

    Args:
        world_seed: seed of the world.
        world_size: size of the world.
    """

    needs_model = False

    def __init__(self, world_seed: int = 0, world_size: str = "small") -> None:
        self._world = load_world(world_seed, world_size)

    async def play(self, play: Play) -> None:
        """Play the episode by rote."""
        solver = HopByHopSolver(self._world, play.options.max_turns)
        episode = begin_episode(play, PROMPT, Limits(2**17, 2**12))
        while not episode.finished:
            await act(play, episode, solver(episode.transcript))
        play.take_outcome(episode)
