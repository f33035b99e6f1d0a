"""Language models that write texts for engines, by name or as objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zs_env.llm.base import (
    ChatRequest,
    Completion,
    Contrast,
    Grammar,
    LanguageModel,
    Message,
)
from zs_env.loading import make_by_name

__all__ = [
    "LLMS",
    "ChatRequest",
    "Completion",
    "Contrast",
    "Grammar",
    "LanguageModel",
    "Message",
    "load_llm",
]

LLMS = {
    "openai_api": "zs_env.llm.openai_api:OpenAILanguageModel",
    "vllm_local": "zs_env.llm.vllm_local:VLLMLanguageModel",
    "transformers_local": "zs_env.llm.transformers_local:TransformersLanguageModel",
    "scripted": "zs_env.llm.scripted:ScriptedLanguageModel",
}
"""Classes that are made from their options, as ``module:class``, by model name."""


def load_llm(llm: str | LanguageModel, options: Mapping[str, Any]) -> LanguageModel:
    """Make the language model that ``llm`` names; return an object as it is.

    Args:
        llm: a name of `LLMS`; ``"module:Class"``, called with the options; or a `LanguageModel`.
        options: keyword arguments of a model given by name.

    Raises:
        ValueError: the name is unknown, or options come with an object.
        TypeError: an option is unknown, or the object is not a language model.
        MissingDependencyError: a package that the model needs is not installed.
    """
    return make_by_name("llm", llm, options, LLMS, LanguageModel)
