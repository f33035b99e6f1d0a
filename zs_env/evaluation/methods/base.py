"""A method: how a question is played."""

from __future__ import annotations

from typing import ClassVar

from zs_env.evaluation.play import Play


class Method:
    """How a question is played with a language model and a search engine. Write `play`.

    Example:
        >>> class Guess(Method):
        ...     async def play(self, play):
        ...         play.begin("Guess. Question: {question}")
        ...         play.finish((await play.write()).strip())
    """

    needs_model: ClassVar[bool] = True
    """Whether it asks a language model."""

    searches: ClassVar[bool] = True
    """Whether it asks the engine: one that does not is run once, and not with each engine."""

    async def play(self, play: Play) -> None:
        """Play a question to its end, and note all that happens in ``play``.

        It runs on an event loop with other questions and must not block it. Failures of model and
        engine are raised through it.
        """
        raise NotImplementedError
