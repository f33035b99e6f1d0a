"""Optimizers of supervised learning, their schedule, and one step of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import AdamW, Optimizer

from agents.supervised.muon import Muon

OptimizerName = Literal["adamw", "muon"]

BETAS = (0.9, 0.98)
"""Decay rates of the moments of AdamW."""


def make_optimizers(
    model: nn.Module,
    name: OptimizerName,
    learning_rate: float,
    weight_decay: float,
    muon_learning_rate: float = 0.0,
) -> list[Optimizer]:
    """Make the optimizers of the parameters of ``model`` that are trained.

    Args:
        model: language model.
        name: ``adamw``, AdamW for all; or ``muon``, Muon (Jordan et al. 2024) for matrices other
            than embeddings, and AdamW for the rest.
        learning_rate: highest learning rate of AdamW.
        weight_decay: weight decay of both.
        muon_learning_rate: highest learning rate of Muon.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if name == "adamw":
        return [AdamW(trained, lr=learning_rate, betas=BETAS, weight_decay=weight_decay)]
    embeddings = _embeddings(model)
    matrices: list[Parameter] = []
    rest: list[Parameter] = []
    for parameter in trained:
        is_matrix = parameter.ndim == 2 and id(parameter) not in embeddings
        (matrices if is_matrix else rest).append(parameter)
    return [
        Muon(matrices, lr=muon_learning_rate, weight_decay=weight_decay),
        AdamW(rest, lr=learning_rate, betas=BETAS, weight_decay=weight_decay),
    ]


def warmup_cosine(step: int, steps: int, warmup: int, floor: float) -> float:
    """Return the factor on learning rates at ``step``.

    Args:
        step: number of the step, from 0.
        steps: number of steps.
        warmup: steps in which it rises, linearly.
        floor: where the cosine would be after the last step.
    """
    falling = 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / max(warmup, 1)) * (floor + (1 - floor) * falling)


def take_step(
    optimizers: Sequence[Optimizer],
    parameters: Sequence[Parameter],
    factor: float,
    max_grad_norm: float,
) -> float:
    """Take a step along the gradients, which are clipped together.

    Args:
        optimizers: optimizers of the parameters.
        parameters: parameters that have gradients.
        factor: factor on the learning rates that the optimizers were made with.
        max_grad_norm: largest norm of the gradient.

    Returns:
        Norm of the gradient before it was clipped. If it is not finite, no step was taken.
    """
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm))
    if not math.isfinite(norm):
        return norm
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        optimizer.step()
    return norm


def _embeddings(model: Any) -> set[int]:
    """Return the identities of the parameters of the input and output embeddings."""
    layers = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    for get in ("get_input_embeddings", "get_output_embeddings"):
        layer = getattr(model, get, lambda: None)()
        layers += [] if layer is None else [layer]
    return {id(p) for layer in layers for p in layer.parameters()}
