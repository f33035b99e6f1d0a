"""The policy: a causal language model with a value head, for sampling and training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from agents.tiny import find_model
from zs_env.errors import MissingDependencyError, TokenizerError
from zs_env.llm.sampling.causal_model import CausalModel
from zs_env.tokens.encoder import TextEncoder, num_token_ids
from zs_env.tokens.tokenizers import read_tokenizer

disable_progress_bar()

ADAPTERS = "adapter_config.json"


class PolicyOutput(NamedTuple):
    """Scores of the marked tokens, 0 for the others; all (B, T), float32.

    Attributes:
        log_probs: log-probability of the token, given all tokens before it.
        entropy: entropy of the distribution that the token is drawn from, in nats.
        values: expected return in the state before the token, or 0 without a value head.
    """

    log_probs: Tensor
    entropy: Tensor
    values: Tensor


class Policy(nn.Module):
    """Any causal language model of transformers, with or without a value head.

    Args:
        model: language model, or a peft model around one.
        tokenizer: tokenizer of the model.
        with_values: whether to add a value head, which starts at 0.
        temperature: divisor of the logits, in sampling and in training.

    Attributes:
        encoder: encoder of the environment's texts, which also counts their tokens.
        causal_model: the model, asked at chosen positions.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        with_values: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        # The types of transformers do not say that one sequence decodes to one text.
        self.encoder = TextEncoder(tokenizer, _end_ids(model))  # type: ignore[arg-type]
        self.temperature = temperature
        self.value_head = ValueHead(model.config.hidden_size) if with_values else None
        self.causal_model = CausalModel(model, self.encoder.num_ids)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def forward(self, token_ids: Tensor, mask: Tensor) -> PolicyOutput:
        """Score the tokens that ``mask`` marks; no logits are computed for the others.

        Args:
            token_ids: token ids, padded on the right with any id, (B, T), int64.
            mask: True for the tokens to score, (B, T), bool. The first column is never scored.
        """
        # The output at a position is for the next token, so the mask shifts by one.
        chosen = mask[:, 1:]
        hidden, logits = self.causal_model.read(token_ids[:, :-1], chosen)
        logits = logits.float() / self.temperature
        all_log_probs = logits.log_softmax(-1)
        log_probs = all_log_probs.gather(-1, token_ids[:, 1:][chosen][:, None])[:, 0]
        entropy = -(all_log_probs.exp() * all_log_probs).sum(-1)
        values = torch.zeros_like(log_probs)
        if self.value_head is not None:
            values = self.value_head(hidden)
        return PolicyOutput(*(_spread(x, chosen) for x in (log_probs, entropy, values)))


class ValueHead(nn.Module):
    """Network from hidden states (..., H) to expected returns (...,), float32; 0 at first."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the expected returns."""
        values: Tensor = self.output(torch.tanh(self.hidden(hidden.float())))[..., 0].float()
        return values


def load_model(path: str | Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load the causal language model of a model folder or hub name, or ``tiny``, the bundled one.

    Raises:
        ValueError: there is no such model, or a part of its weights is missing.
    """
    path = find_model(path)
    try:
        if (Path(path) / ADAPTERS).is_file():
            return _load_adapters(path, dtype)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"`model` must be a folder or hub name of a causal language model in the format of "
            f"transformers; {str(path)!r} cannot be loaded: {error}"
        ) from None
    model, report = loaded
    if missing := sorted(report["missing_keys"]):  # they would be random
        raise ValueError(
            f"`model` {str(path)!r} lacks {len(missing)} of its weights, such as {missing[0]}: "
            "copy or download the folder again, or correct its config.json."
        )
    # Weights that lie in the file as they are begin at addresses of its layout, by which kernels
    # round differently: a run that resumes would not be the one that went on.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return cast(PreTrainedModel, model)


def load_policy(path: str | Path, *, with_values: bool = False, temperature: float = 1.0) -> Policy:
    """Load the policy of a model folder, a checkpoint or a hub name.

    Raises:
        ValueError: there is no such model.
        TokenizerError: the model has no tokenizer, one without end-of-text, or that of another.
    """
    tokenizer = read_tokenizer(find_model(path))
    model = load_model(path)
    _check_tokenizer(path, model, tokenizer)
    return Policy(model, tokenizer, with_values=with_values, temperature=temperature)


def add_adapters(model: PreTrainedModel, rank: int) -> PreTrainedModel:
    """Return ``model`` with low-rank adapters (LoRA) of ``rank``; only the adapters are trained.

    Raises:
        MissingDependencyError: peft is not installed.
    """
    peft = _import_peft()
    options = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    adapted: Any = peft.get_peft_model(model, options)
    return adapted


def _load_adapters(path: str | Path, dtype: torch.dtype) -> PreTrainedModel:
    """Load adapters, which can be trained further, and the base model that their folder names."""
    peft = _import_peft()
    config = peft.PeftConfig.from_pretrained(path)
    config.base_model_name_or_path = str(find_model(config.base_model_name_or_path))
    base = load_model(config.base_model_name_or_path, dtype)
    model: Any = peft.PeftModel.from_pretrained(base, path, config=config, is_trainable=True)
    return model


def _check_tokenizer(
    path: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Check that the model has an embedding for each token.

    Raises:
        TokenizerError: it has not.
    """
    embeddings: Any = model.get_input_embeddings()
    num_embeddings = embeddings.weight.shape[0]
    if (num_ids := num_token_ids(tokenizer)) > num_embeddings:
        raise TokenizerError(
            f"the tokenizer of {str(path)!r} has {num_ids:,} token ids, and the model embeds only "
            f"{num_embeddings:,}: it is the tokenizer of another model. Put the model's own beside "
            "it; or, if tokens were added on purpose, enlarge the model with "
            "`resize_token_embeddings`."
        )


def _end_ids(model: PreTrainedModel) -> Any:
    """Return the tokens that end a text according to the model: a number, a list or None."""
    return getattr(model.generation_config, "eos_token_id", None)


def _import_peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingDependencyError.for_extra("`lora_rank`", "peft", "lora") from error
    return peft


def _spread(values: Tensor, chosen: Tensor) -> Tensor:
    """Return ``values`` (N,) put at the N chosen places of (B, T - 1), as (B, T).

    All other places, and the first column, are 0.
    """
    placed = values.new_zeros(chosen.shape).masked_scatter(chosen, values)
    return torch.nn.functional.pad(placed, (1, 0))
