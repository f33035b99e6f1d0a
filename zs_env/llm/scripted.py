"""A language model that is a function: for tests, and to see what a simulation LLM is asked."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from zs_env.llm.base import ChatRequest, Completion, LanguageModel

Script = Callable[[ChatRequest], str]


class ScriptedLanguageModel(LanguageModel):
    """Writes what ``script`` returns for the request. Tokens are counted as words.

    Args:
        script: a function of the request, or where it is: ``module:function``.

    Raises:
        ValueError: there is no such function.
    """

    def __init__(self, script: Script | str) -> None:
        self.script = _find(script) if isinstance(script, str) else script

    async def acomplete(self, request: ChatRequest) -> Completion:
        """Call the script."""
        text = self.script(request)
        num_read = sum(len(message.content.split()) for message in request.messages)
        return Completion(text, num_read, len(text.split()))

    def identity(self) -> dict[str, Any]:
        """Where the script is.

        Raises:
            NotImplementedError: it has no name of its own, as a lambda has none.
        """
        name = getattr(self.script, "__qualname__", "<")
        if "<" in name:
            raise NotImplementedError(f"{self.script!r} has no name that tells it from others.")
        return {"script": f"{self.script.__module__}:{name}"}


def _find(entry_point: str) -> Script:
    module, _, name = entry_point.partition(":")
    try:
        script: Script = getattr(importlib.import_module(module), name)
    except (ImportError, SyntaxError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no script {entry_point!r}: {error}.") from None
    return script
