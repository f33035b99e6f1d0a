"""Sizes of a model that need not be there: parameters and cache follow from its configuration."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from agents.sampling.policy import ADAPTERS, add_adapters
from agents.tiny import find_model

Architecture = Any
"""Configuration of a model in transformers; its attributes depend on the family."""

ARCHITECTURES = Path(__file__).parent.parent / "configs" / "architectures.json"
"""Published sizes of a few models by hub name, to compute with where there is no network."""


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a causal language model.

    Attributes:
        parameters: number of parameters; a tied head counts once.
        trained: number of parameters that are trained: all, or those of adapters.
        hidden: width of the hidden states.
        inner: width of the layers' feed-forward network.
        layers: number of layers.
        queries: width of all query heads together.
        keys: width of all key heads together, which is that of the value heads.
        vocabulary: number of logits.
    """

    parameters: int
    trained: int
    hidden: int
    inner: int
    layers: int
    queries: int
    keys: int
    vocabulary: int

    @property
    def cached_values(self) -> int:
        """Numbers in the key-value cache for each token."""
        return 2 * self.layers * self.keys


def read_architecture(name: str) -> Architecture:
    """Return the configuration of a model, without a download.

    Args:
        name: ``tiny``, a folder, or a hub name that is in the cache or in `ARCHITECTURES`.

    Raises:
        ValueError: it is not at hand.
    """
    path = find_model(name)
    if (Path(path) / ADAPTERS).is_file():
        adapters = json.loads((Path(path) / ADAPTERS).read_text(encoding="utf-8"))
        return read_architecture(adapters["base_model_name_or_path"])
    known = json.loads(ARCHITECTURES.read_text(encoding="utf-8"))
    sizes = known.get(str(name).removesuffix("-Instruct"))
    if sizes is not None and not Path(path).is_dir():
        return AutoConfig.for_model(**sizes).get_text_config()
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True).get_text_config()
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"the configuration of `model` {str(name)!r} is not on this machine: download the "
            f"model, or at least its config.json, and give the folder. ({reason})"
        ) from None


def measure_model(config: Architecture, lora_rank: int = 0) -> ModelSizes:
    """Return the sizes of the model of ``config``; no memory is taken.

    Args:
        config: configuration of the model.
        lora_rank: rank of the adapters that alone are trained; 0 trains all.

    Raises:
        ValueError: it is no causal language model of transformers.
        MissingDependencyError: peft is not installed, which adapters need.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        parameters = sum(p.numel() for p in model.parameters())
        if lora_rank:
            model = add_adapters(model, lora_rank)
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return ModelSizes(
        parameters=parameters,
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        hidden=config.hidden_size,
        inner=inner,
        layers=config.num_hidden_layers,
        queries=heads * width,
        keys=key_heads * width,
        vocabulary=config.vocab_size,
    )


def cut_down(config: Architecture, vocabulary: int) -> Architecture:
    """Return the configuration of a tiny model of the same family: two layers of width 32."""
    small = copy.deepcopy(config)
    small.num_hidden_layers = 2
    small.num_attention_heads = 2
    small.hidden_size = 32
    sizes = {"num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 64}
    for name, size in sizes.items():
        if getattr(small, name, None) is not None:
            setattr(small, name, size)
    if getattr(small, "layer_types", None):
        small.layer_types = small.layer_types[:2]
    small.vocab_size = vocabulary
    small.bos_token_id = None
    return small
