"""Embedded world: its facts, and the questions about them."""

from __future__ import annotations

from functools import lru_cache

from zs_env.world.graph import FactGraph
from zs_env.world.questions import WorldQuestions, make_questions


class World(FactGraph):
    """Knowledge graph and its questions. Use `load_world`, which shares it."""

    def __reduce__(self) -> tuple[object, tuple[int, str]]:
        """Pickle as seed and size: loading returns the shared copy of the process."""
        return load_world, (self.seed, self.size)

    def __repr__(self) -> str:
        """Return the call that makes this world."""
        return f"World(seed={self.seed}, size={self.size!r})"

    def questions(self, split: str = "train") -> WorldQuestions:
        """Return the questions of a split, ``train`` or ``test``."""
        return make_questions(self, split)


def load_world(seed: int = 0, size: str = "small") -> World:
    """Return the world of ``seed`` and ``size``, made once in a process and shared."""
    return _load_world(seed, size)


@lru_cache(maxsize=4)
def _load_world(seed: int, size: str) -> World:
    return World(seed, size)
