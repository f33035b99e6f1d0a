"""Embedded world: made-up facts, English that states and asks for them, and questions."""

from zs_env.world.graph import Fact, FactGraph
from zs_env.world.world import World, load_world

__all__ = ["Fact", "FactGraph", "World", "load_world"]
