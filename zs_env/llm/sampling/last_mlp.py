"""The last layer's MLP at chosen positions only: nothing reads what it gives for the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

MOST_CHOSEN = 0.9
"""Share of chosen positions up to which leaving the others out is worth while."""


class LastMLP:
    """Hooks on the MLP of the last layer of ``model``; they do nothing outside of `only`.

    In a decoder layer, an MLP maps each position by itself and its output is added to what it
    read. So in the last layer the positions that are not chosen do not need it.

    Args:
        model: model whose layers are ``layers``, each with an ``mlp``, as in most families. In
            others the hooks are never called.
    """

    def __init__(self, model: nn.Module) -> None:
        self._chosen: Tensor | None = None
        layers: Any = getattr(model, "layers", None)
        module: Any = getattr(layers[-1], "mlp", None) if layers else None
        if module is not None:
            module.register_forward_pre_hook(self._keep_chosen)
            module.register_forward_hook(self._put_back)

    @contextmanager
    def only(self, chosen: Tensor) -> Iterator[None]:
        """Within the block, compute the positions of ``chosen`` (B, T), bool, only."""
        self._chosen = chosen if float(chosen.float().mean()) <= MOST_CHOSEN else None
        try:
            yield
        finally:
            self._chosen = None

    def _keep_chosen(self, module: nn.Module, args: tuple[Any, ...]) -> Any:
        if self._chosen is None:
            return None
        hidden, *others = args
        return (hidden[self._chosen][None], *others)  # (1, N, H)

    def _put_back(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if self._chosen is None:
            return None
        placed = output.new_zeros(*self._chosen.shape, output.shape[-1])
        return placed.masked_scatter(self._chosen[..., None], output)


@torch.no_grad()
def make_last_mlp(model: nn.Module, token_ids: Tensor) -> LastMLP | None:
    """Return the hooks, or None if ``model`` gives something else with them.

    Args:
        model: model without its head.
        token_ids: tokens to try, (1, T), int64.
    """
    chosen = torch.zeros_like(token_ids, dtype=torch.bool)
    chosen[:, ::2] = True
    expected = model(token_ids, use_cache=False).last_hidden_state[chosen]
    hooks = LastMLP(model)
    try:
        with hooks.only(chosen):
            found = model(token_ids, use_cache=False).last_hidden_state[chosen]
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return None
    return hooks if torch.allclose(found, expected, rtol=1e-3, atol=1e-4) else None
