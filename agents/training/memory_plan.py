"""Memory of a GPU in training, computed from the sizes of the model and the options of the run.

All figures are of one GPU, which holds the whole model, as every process of ``torchrun`` does. They
are sums of what is known to be allocated; allocators add a few percent.
"""

from __future__ import annotations

from typing import NamedTuple

from agents.training.config import Config
from agents.training.model_sizes import ModelSizes

GIB = 2**30

CONTEXT = 2 * GIB
"""Bytes of torch's and vLLM's CUDA contexts, libraries and workspaces: an assumption."""

VLLM_WORK = 2 * GIB
"""Bytes of vLLM's share for its activations and CUDA graphs: an assumption."""

LOGIT_BYTES = 24
"""Bytes for each logit of a scored token: logits, log-probabilities, probabilities and their
product in float32, and two more of that size in the backward pass: an estimate from above."""


class Item(NamedTuple):
    """Something in the GPU's memory, in bytes, while tokens are sampled and while it learns."""

    name: str
    sampling: float
    learning: float


class Cache(NamedTuple):
    """Key-value cache of the sampler.

    Attributes:
        bytes_per_token: bytes for each token.
        wanted: bytes for all concurrent episodes, each as long as ``max_context``.
        given: bytes that there are; None without a limit of its own.
    """

    bytes_per_token: int
    wanted: float
    given: float | None

    @property
    def tokens(self) -> int | None:
        """Tokens that fit, at least 0; None without a limit."""
        return None if self.given is None else max(int(self.given / self.bytes_per_token), 0)


def plan_cache(config: Config, sizes: ModelSizes, card: float) -> Cache:
    """Return the cache of the sampler, in bfloat16, on a card of ``card`` bytes."""
    each = 2 * sizes.cached_values
    wanted = float(each * config.max_context * episodes_at_once(config))
    if config.sampler != "vllm" or config.sampler_url:
        return Cache(each, wanted, None)
    return Cache(each, wanted, config.sampler_memory * card - 2 * sizes.parameters - VLLM_WORK)


def episodes_at_once(config: Config) -> int:
    """Return the number of episodes that are played at the same time."""
    return min(config.concurrent_episodes, config.episodes_per_update)


def plan_memory(config: Config, sizes: ModelSizes, card: float) -> list[Item]:
    """Return what is in the memory of a GPU of ``card`` bytes, in bfloat16 with float32 weights.

    Args:
        config: options of the run.
        sizes: sizes of the model.
        card: memory of the GPU, in bytes.

    Returns:
        What there is; a value head, a thousandth of the rest, is left out.
    """
    trained = sizes.trained
    weights = 4.0 * (sizes.parameters + (trained if config.lora_rank else 0))
    items = [
        Item("weights, float32", weights, weights),
        Item("gradients, float32", 4.0 * trained, 4.0 * trained),
        Item("optimizer, two moments", 8.0 * trained, 8.0 * trained),
    ]
    if config.kl_coef > 0:
        items.append(Item("reference policy, float32", weights, weights))
    copied = 2.0 * sizes.parameters
    own = config.sampler == "transformers"
    items.append(Item("weights in bfloat16, while computing", copied if own else 0.0, copied))
    items.append(Item("activations of a micro-batch", 0.0, activations(config, sizes)))
    items.append(Item("logits of its scored tokens", 0.0, logits(config, sizes)))
    if own:
        cache = plan_cache(config, sizes, card).wanted
        items.append(Item("key-value cache, if all episodes are long", cache, 0.0))
    elif not config.sampler_url:
        items.append(Item("vLLM, asleep while learning", config.sampler_memory * card, 0.0))
    items.append(Item("CUDA contexts (assumed)", CONTEXT, CONTEXT))
    return items


def longest_batch(config: Config) -> int:
    """Return the tokens of the largest micro-batch: a long episode has one of its own."""
    return max(config.micro_batch_tokens, config.max_context)


def activations(config: Config, sizes: ModelSizes) -> float:
    """Return the bytes that the backward pass needs of a micro-batch, without logits.

    The residual stream is float32, as it is under autocast. With gradient checkpointing each layer
    keeps its input, and one layer at a time is computed again.
    """
    stream = 4 * sizes.hidden
    norms = 2 * (4 + 4 + 2) * sizes.hidden  # input and output in float32, and cast
    attention = 4 * (sizes.queries + 2 * sizes.keys) + 2 * sizes.queries
    network = 4 * 2 * sizes.inner  # gate, its activation, up, product, in bfloat16
    layer = norms + attention + network + stream
    kept = sizes.layers * stream + layer if config.gradient_checkpointing else sizes.layers * layer
    return float(longest_batch(config) * kept)


def logits(config: Config, sizes: ModelSizes) -> float:
    """Return the bytes of the logits of a micro-batch of which all tokens but documents score."""
    written = min(config.max_context, config.max_turns * config.max_turn_tokens)
    return float(max(config.micro_batch_tokens, written) * sizes.vocabulary * LOGIT_BYTES)
