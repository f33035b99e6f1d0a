"""The embedded world: made-up facts, the English that states and asks them, and their questions."""

from zs_env.world.graph import Fact, World, load_world

__all__ = ["Fact", "World", "load_world"]
