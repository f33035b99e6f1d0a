"""The bundled simulation LLM: a small model, tuned to play BM25 over the embedded world."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

WORLD = "world"
"""Name of the bundled simulation LLM, which can be given wherever a local model is expected."""

LLM = "transformers_local"
"""Name of the language model in this process that loads it (`zs_env.llm.LLMS`)."""

FOLDER = Path(__file__).parent / "world"
"""Folder of its weights and its tokenizer, in the format of transformers."""

ASKED: dict[str, Any] = {"template": "world", "hide_answer_from_noisy": True, "contrast": 0.5}
"""Options of `zs_env.engines.simulated` that it was tuned for."""

MADE: dict[str, Any] = {"max_batch_size": 256}
"""Options of the language model: a model this small writes many texts as fast as few."""


def is_bundled(llm: object, model: object) -> bool:
    """Return whether the options ``llm`` and ``model`` of the engine `simulated` name it."""
    return (llm is None or llm == LLM) and model == WORLD


def find_model(name: str) -> str:
    """Return the folder of the bundled model by its name; any other folder or hub name as it is."""
    return str(FOLDER) if name == WORLD else name


def model_identity(name: str) -> str:
    """Return ``name``, for the bundled model with a hash of its weights, which versions change."""
    if name != WORLD:
        return name
    weights = (FOLDER / "model.safetensors").read_bytes()
    return f"{WORLD}:{hashlib.sha256(weights).hexdigest()[:12]}"
