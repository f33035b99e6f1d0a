"""The folder of a tuned model, as transformers and vLLM load it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel

from agents.tiny import find_model
from agents.tiny.saving import save_model
from agents.training.checkpoint import replace_folder, save_pretrained
from agents.tuning.tokenizer import end_id

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Dtypes of weights, the most exact first."""


def dtype_of(model: str) -> torch.dtype:
    """Return the dtype that the config of the model names; float32 if it names none."""
    try:
        named = AutoConfig.from_pretrained(find_model(model)).dtype
    except (OSError, ValueError):  # adapters alone
        named = None
    return named if named in DTYPES else torch.float32


def export(
    model: PreTrainedModel, tokenizer: Any, folder: Path, dtype: torch.dtype, came_in: torch.dtype
) -> None:
    """Write ``folder/model``, and for adapters also ``folder/adapters``; merge these into a model.

    The tokens that end a text are named in the generation config. ``config.json`` names the more
    exact one of both dtypes, which is computed in.

    Args:
        model: tuned model; adapters are merged into it in place.
        tokenizer: its tokenizer.
        folder: folder of the run.
        dtype: dtype of the weights in the file.
        came_in: dtype that the config of the model named before.
    """
    tuned: Any = model
    if hasattr(tuned, "merge_and_unload"):
        replace_folder(folder / "adapters", lambda to: _save_adapters(tuned, tokenizer, to))
        tuned = tuned.merge_and_unload()
    end = end_id(tokenizer)
    generation = tuned.generation_config
    named = generation.eos_token_id
    others = named if isinstance(named, list) else [named]
    ends = dict.fromkeys([end, *(other for other in others if other is not None)])
    generation.eos_token_id = list(ends) if len(ends) > 1 else end
    if generation.pad_token_id is None:
        generation.pad_token_id = tokenizer.pad_token_id
    if tuned.config.eos_token_id is None:
        tuned.config.eos_token_id = end
    computed_in = min(dtype, came_in, key=DTYPES.index)
    replace_folder(folder / "model", lambda to: _save(tuned, tokenizer, to, dtype, computed_in))


def _save(
    model: Any, tokenizer: Any, folder: Path, dtype: torch.dtype, computed_in: torch.dtype
) -> None:
    save_model(model, tokenizer, folder, dtype)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["dtype"] = str(computed_in).removeprefix("torch.")
    path.write_text(json.dumps(config, indent=2) + "\n")


def _save_adapters(model: Any, tokenizer: Any, folder: Path) -> None:
    save_pretrained(folder, model, tokenizer)
