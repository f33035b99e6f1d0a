"""How small policies are kept: weights in half the bytes, to be computed with in float32."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Save weights, configuration and tokenizer to ``folder``.

    ``config.json`` names the dtype of ``model`` rather than that of the file: whoever loads the
    folder with ``dtype="auto"`` computes in it.

    Args:
        model: model in float32.
        tokenizer: its tokenizer.
        folder: folder to write to.
        dtype: dtype of the weights in the file.
    """
    weights = model.state_dict()
    # Tied weights are one tensor, and must stay one, of which a copy is left out of the file.
    rounded = {value.data_ptr(): value.detach().to(dtype) for value in weights.values()}
    state = {name: rounded[value.data_ptr()] for name, value in weights.items()}
    model.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)
