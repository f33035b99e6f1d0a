"""The embedded world: made-up facts, the English that states and asks them, and their questions."""

from zs_env.world.graph import Fact, FactGraph
from zs_env.world.world import World, load_world

__all__ = ["Fact", "FactGraph", "World", "load_world"]
