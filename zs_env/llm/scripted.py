"""Function as a language model: for tests, and to see what a simulation LLM is asked."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from zs_env.llm.base import (
    ChatRequest,
    Completion,
    LanguageModel,
    first_stop,
    whole_message,
)

Script = Callable[[ChatRequest], str]


class ScriptedLanguageModel(LanguageModel):
    """Model that writes what ``script`` returns. Words are counted as tokens.

    Args:
        script: function from a request to a text, or its place: ``module:function``. The text may
            leave out the request's ``prefill``.

    Raises:
        ValueError: the function does not exist.
    """

    continues_messages = True
    grammars = ("regex", "json")

    def __init__(self, script: Script | str) -> None:
        self.script = _find(script) if isinstance(script, str) else script

    async def acomplete(self, request: ChatRequest) -> Completion:
        """Call the script."""
        text = self.script(request)
        num_read = sum(len(message.content.split()) for message in request.messages)
        written = len(text.split())
        stop = first_stop(text, request.stop)
        if stop is not None:
            text = text[: text.index(stop)]
        whole = whole_message(request.prefill, text) if request.messages else request.prefill + text
        return Completion(whole, num_read, written, stop=stop)

    def identity(self) -> dict[str, Any]:
        """Return the place of the script.

        Raises:
            NotImplementedError: the script has no unique name, such as a lambda.
        """
        name = getattr(self.script, "__qualname__", "<")
        if "<" in name:
            raise NotImplementedError(
                f"`script` must have a unique name to be recorded, got {self.script!r}: name a "
                "function of a module."
            )
        return {"script": f"{self.script.__module__}:{name}"}


def _find(entry_point: str) -> Script:
    module, _, name = entry_point.partition(":")
    try:
        script: Script = getattr(importlib.import_module(module), name)
    except (ImportError, SyntaxError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no script {entry_point!r}: {error}.") from None
    return script
