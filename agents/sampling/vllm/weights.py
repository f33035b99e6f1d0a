"""Weights on their way to vLLM: a folder for each transfer."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from agents.sampling.errors import SamplerError
from agents.sampling.policy import Policy

ONE_FILE = "100000GB"
"""Size of a file of weights that no model reaches: with one file there is no index of them."""

HEAD = "lm_head.weight"
"""Name of the output embedding in the files of causal language models."""


class Weights(NamedTuple):
    """Weights that vLLM can load.

    Attributes:
        name: name of the transfer, which no other has.
        folder: absolute path of the folder.
        number: number of the transfer, from 1.
        is_adapter: whether the folder holds low-rank adapters only.
    """

    name: str
    folder: Path
    number: int
    is_adapter: bool


class WeightsFolder:
    """Writer of weights into subfolders of ``folder``, of which the last is kept.

    Args:
        folder: made if it does not exist.
        dtype: dtype that weights are written in.
        clear: whether what a killed run has left there is removed at the first transfer.
    """

    def __init__(self, folder: Path, dtype: torch.dtype, *, clear: bool = False) -> None:
        self._folder = folder.absolute()
        self._dtype = dtype
        # A server that outlives the run knows the adapters of the run before.
        self._prefix = f"policy-{secrets.token_hex(4)}"
        self._clear = clear
        self._number = 0
        self._last: Path | None = None

    def write(self, policy: Policy) -> Weights:
        """Write the weights of ``policy``, or only its adapters if it has any.

        Raises:
            SamplerError: they cannot be written.
        """
        if self._clear and self._number == 0:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._number += 1
        name = f"{self._prefix}-{self._number}"
        target = self._folder / name
        is_adapter = hasattr(policy.model, "peft_config")
        try:
            target.mkdir(parents=True)
            if is_adapter:
                policy.model.save_pretrained(target)
            else:
                self._write_all(policy.model, target)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(target, ignore_errors=True)
            raise SamplerError(
                f"the weights for vLLM cannot be written to {target}: {error}. Free some space, or "
                "choose another `sampler_folder`."
            ) from error
        last, self._last = self._last, target
        if last is not None:
            shutil.rmtree(last, ignore_errors=True)
        return Weights(name, target, self._number, is_adapter)

    def remove(self) -> None:
        """Remove what was written last."""
        if self._last is not None:
            shutil.rmtree(self._last, ignore_errors=True)
            self._last = None

    def _write_all(self, model: Any, target: Path) -> None:
        state = {name: value.to("cpu", self._dtype) for name, value in _floating(model).items()}
        model.save_pretrained(target, state_dict=state, max_shard_size=ONE_FILE)
        # A tied head is left out of model.safetensors, and vLLM would go on with its old one where
        # it keeps a copy of its own.
        head = model.get_output_embeddings().weight
        if head is model.get_input_embeddings().weight:
            copy = head.detach().to("cpu", self._dtype).contiguous()
            save_file({HEAD: copy}, target / "head.safetensors")


def _floating(model: Any) -> dict[str, torch.Tensor]:
    return {n: v.detach() for n, v in model.state_dict().items() if v.is_floating_point()}
