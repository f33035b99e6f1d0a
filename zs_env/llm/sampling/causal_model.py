"""A causal language model that is asked for chosen positions only."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from zs_env.llm.sampling.last_mlp import make_last_mlp

PROBE_TOKENS = 4

LEAST_PREFIX = 16
"""Least number of tokens that sequences must share for reading them only once."""


class CausalModel:
    """Any causal language model of transformers, inside its adapters or without.

    Args:
        model: language model, or a peft model around one.
        num_tokens: number of token ids of its tokenizer. Some models have more logits; those are
            cut off, so that every token which is drawn can be decoded.
    """

    def __init__(self, model: Any, num_tokens: int) -> None:
        # Adapters are put into the model itself, so they stay in place.
        self._model: PreTrainedModel = (
            model.get_base_model() if hasattr(model, "get_base_model") else model
        )
        self._num_tokens = num_tokens
        probe = torch.arange(PROBE_TOKENS, device=self.device)[None]
        self._plain_head = _has_plain_head(self._model, probe)
        self._last_mlp = make_last_mlp(self._model.base_model, probe)
        self._takes_prefix = self._gives_the_same_after_a_prefix(probe)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self._model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return next(self._model.parameters()).dtype

    def read(self, token_ids: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `at` returns; what all sequences begin with is read once, for all of them.

        Gradients are those of reading it in each sequence.

        Args:
            token_ids: token ids, (B, T), int64.
            chosen: True for the positions to return, (B, T), bool.
        """
        length = self._num_shared(token_ids, chosen)
        if length < LEAST_PREFIX or not self._takes_prefix or self._recomputes:
            return self.at(token_ids, chosen)
        return self._read_after_prefix(token_ids, chosen, length)

    def at(self, token_ids: Tensor, chosen: Tensor, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Return last hidden states and raw logits at the N positions of ``chosen``.

        Args:
            token_ids: token ids, (B, T), int64.
            chosen: True for the positions to return, (B, T), bool.
            kwargs: further arguments of the model, such as its cache.

        Returns:
            Hidden states (N, hidden size), and logits (N, V).
        """
        kwargs.setdefault("use_cache", False)
        with self._needing(chosen):
            if self._plain_head:
                hidden = self._model.base_model(token_ids, **kwargs).last_hidden_state[chosen]
                logits = self._head(hidden)
            else:
                output = self._model(token_ids, output_hidden_states=True, **kwargs)
                hidden, logits = output.hidden_states[-1][chosen], output.logits[chosen]
        return hidden, logits[:, : self._num_tokens]

    @property
    def _head(self) -> Any:
        model: Any = self._model
        return model.get_output_embeddings()

    def _needing(self, chosen: Tensor) -> AbstractContextManager[None]:
        """Return a context manager in which only ``chosen`` positions have to be right."""
        if self._last_mlp is None or self._recomputes:
            return nullcontext()
        return self._last_mlp.only(chosen)

    @property
    def _recomputes(self) -> bool:
        """Whether activations are computed again in the backward pass, which allows no cache."""
        # Newer versions of transformers have renamed it.
        names = ("is_activation_checkpointing", "is_gradient_checkpointing")
        [name, *_] = [name for name in names if hasattr(type(self._model), name)]
        return self._model.training and bool(getattr(self._model, name))

    def _num_shared(self, token_ids: Tensor, chosen: Tensor) -> int:
        """Return how many first columns are alike in all of 2 or more rows, and not chosen."""
        if len(token_ids) < 2:
            return 0
        differs = (token_ids != token_ids[0]).any(0) | chosen.any(0)
        first = differs.nonzero()
        return int(first[0, 0]) if len(first) else 0

    def _read_after_prefix(
        self, token_ids: Tensor, chosen: Tensor, length: int
    ) -> tuple[Tensor, Tensor]:
        cache = DynamicCache()
        with self._needing(torch.zeros_like(chosen[:1, :length])):
            self._model.base_model(token_ids[:1, :length], past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(token_ids))
        return self.at(
            token_ids[:, length:], chosen[:, length:], past_key_values=cache, use_cache=True
        )

    @torch.no_grad()
    def _gives_the_same_after_a_prefix(self, probe: Tensor) -> bool:
        """Return whether reading a prefix once gives what reading it in each sequence does.

        A model whose memory is not one of keys and values cannot do that.
        """
        token_ids = probe.repeat(2, 1)
        chosen = torch.zeros_like(token_ids, dtype=torch.bool)
        chosen[:, -1] = True
        try:
            shared = self._read_after_prefix(token_ids, chosen, PROBE_TOKENS // 2)
        except (AttributeError, TypeError, ValueError, RuntimeError):
            return False
        whole = self.at(token_ids, chosen)
        return all(
            torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(shared, whole, strict=True)
        )


@torch.no_grad()
def _has_plain_head(model: Any, token_ids: Tensor) -> bool:
    """Return whether the logits are just the output embedding of the last hidden states.

    If so, they can be computed for the chosen positions only (for the benchmark training: documents
    need no logits). Models that scale or cap their logits differ.
    """
    # Tried on a few tokens, (1, T): configurations have no common field for it.
    hidden = model.base_model(token_ids, use_cache=False).last_hidden_state
    logits = model(token_ids, use_cache=False).logits
    plain: Tensor = model.get_output_embeddings()(hidden)
    return bool(torch.allclose(plain, logits, rtol=1e-3, atol=1e-4))
