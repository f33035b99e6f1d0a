"""The model that is tuned: its loss for each token with a label."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from agents.supervised.losses import shifted, token_losses
from agents.tuning.rows import RowBatch
from zs_env.llm.sampling.causal_model import CausalModel

MASKED_ATTENTION = ("eager", "sdpa")
"""Implementations of attention that take a mask of which token attends to which."""

PROBE_TOKENS = 4


class Scorer(nn.Module):
    """Causal language model that scores rows of pairs.

    Args:
        model: language model, or a peft model around one.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        base: Any = model
        self._causal = CausalModel(model, base.get_input_embeddings().weight.shape[0])

    def forward(self, batch: RowBatch) -> Tensor:
        """Return the losses of the N tokens with labels, row by row, (N,), float32, in nats."""
        chosen, targets = shifted(batch.labels)
        _, logits = self._causal.at(batch.token_ids, chosen, **self._attending(batch))
        return token_losses(logits, targets)

    def _attending(self, batch: RowBatch) -> dict[str, Tensor]:
        """Return the arguments by which no pair attends to another one."""
        if not batch.is_packed:
            return {}  # padding stands behind all tokens, so none attends to it
        mask = batch.may_attend()
        if attention_of(self.model) == "eager":
            # It is added to the scores.
            least = torch.finfo(torch.float32).min
            mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, least)
        return {"attention_mask": mask, "position_ids": batch.positions}


def attention_of(model: Any) -> str:
    """Return the implementation of attention of ``model``."""
    return str(getattr(model.config, "_attn_implementation", None))


def check_attention(model: Any, row_tokens: int) -> None:
    """Check that ``model`` takes a mask of which token attends to which.

    Args:
        model: language model.
        row_tokens: largest length of a row.

    Raises:
        ValueError: it does not, or attends only to a window that is shorter than a row.
    """
    found = attention_of(model)
    if found not in MASKED_ATTENTION:
        raise ValueError(
            f"`packing` needs attention {' or '.join(MASKED_ATTENTION)}, and the model has "
            f"{found!r}: name another `attn_implementation` in its config.json, or use "
            "--no-packing."
        )
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and row_tokens > window:
        raise ValueError(
            f"`packing` needs `row_tokens` at most {window:,}, the window that the model attends "
            f"to, got {row_tokens:,}. Lower it, or use --no-packing."
        )


def check_packing(scorer: Scorer) -> None:
    """Check that pairs in one row do not influence one another: a row is compared with its pairs.

    Raises:
        ValueError: they do.
    """
    if not _keeps_pairs_apart(scorer):
        raise ValueError(
            f"`packing` does not work with {type(scorer.model).__name__}: pairs in one row "
            "influence one another. Use --no-packing."
        )


@torch.no_grad()
def _keeps_pairs_apart(scorer: Scorer) -> bool:
    device = next(scorer.parameters()).device
    ids = torch.arange(1, 1 + 2 * PROBE_TOKENS, device=device)[None]  # (1, T)
    counted = torch.arange(PROBE_TOKENS, device=device)
    positions = counted.repeat(2)[None]
    segments = torch.tensor([0, 1], device=device).repeat_interleave(PROBE_TOKENS)[None]
    labels = ids.masked_fill(positions == 0, -100)
    nothing = torch.zeros_like(ids)
    unmarked = nothing.bool()
    row = RowBatch(ids, positions, segments, labels, unmarked, unmarked, unmarked, nothing)
    apart = RowBatch(*(column.reshape(2, PROBE_TOKENS) for column in row))
    apart = apart._replace(segments=torch.zeros_like(apart.segments))
    was_training = scorer.training
    scorer.eval()
    try:
        packed, alone = scorer(row), scorer(apart)
    except (TypeError, ValueError, RuntimeError):
        return False
    finally:
        scorer.train(was_training)
    return bool(torch.allclose(packed, alone, rtol=1e-3, atol=1e-3))
