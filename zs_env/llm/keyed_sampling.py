"""Sampling in batches, where each request draws from a random generator of its own.

Needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from zs_env.llm.base import ChatRequest


class KeyedSampling(LogitsProcessor):
    """Processor of logits after which the likeliest token of each request is a sample.

    The Gumbel trick: the token with the largest log p + g, where each g is independent Gumbel
    noise, is a sample of p. So greedy decoding samples, with a generator for each request.

    Args:
        requests: requests of the batch, B of them, each with its seed, temperature and top_p.
        device: device of the logits.
    """

    def __init__(self, requests: Sequence[ChatRequest], device: Any) -> None:
        temperatures = torch.tensor([[request.temperature] for request in requests])  # (B, 1)
        self._top_p = torch.tensor([[request.top_p] for request in requests]).to(device)  # (B, 1)
        # A temperature of 0 gets no noise: dividing by 1 keeps its likeliest token.
        self._temperatures = temperatures.where(temperatures > 0, 1.0).to(device)
        self._generators = {
            place: torch.Generator(device).manual_seed(request.seed)
            for place, request in enumerate(requests)
            if request.temperature > 0
        }

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return ``scores``, logits (B, V), with temperature, top_p and noise applied, float32."""
        scores = scores.float() / self._temperatures
        if bool((self._top_p < 1).any()):
            scores = keep_top_p(scores, self._top_p)
        for place, generator in self._generators.items():
            scores[place] += _gumbel(scores[place], generator)
        return scores


class EndOfEachRequest(StoppingCriteria):
    """Criterion that ends each request at its own number of new tokens.

    Args:
        width: number of prompt tokens, padding included.
        max_tokens: most new tokens of each request, B numbers.
    """

    def __init__(self, width: int, max_tokens: Sequence[int]) -> None:
        self._ends = torch.tensor(max_tokens) + width  # (B,)

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Return which rows of ``input_ids`` (B, T) have ended, shape (B,), bool."""
        return (self._ends <= input_ids.shape[1]).to(input_ids.device)


def keep_top_p(scores: Tensor, top_p: Tensor) -> Tensor:
    """Return logits (B, V), -inf outside the likeliest tokens that sum to ``top_p`` (B, 1)."""
    probabilities, order = scores.softmax(-1).sort(descending=True)
    outside = (probabilities.cumsum(-1) - probabilities >= top_p) & (top_p < 1)
    outside[:, 0] = False  # the likeliest token always stays
    return scores.masked_fill(outside.scatter(-1, order, outside), -torch.inf)


def _gumbel(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw Gumbel noise of the shape of ``like``: minus the logarithm of exponential noise."""
    noise = torch.empty_like(like).exponential_(generator=generator)
    return -noise.clamp_min_(torch.finfo(noise.dtype).tiny).log_()
