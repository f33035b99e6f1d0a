"""What vLLM is asked for, by the names that its servers and `vllm.SamplingParams` share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from agents.sampling.errors import SamplerError
from zs_env.keyed_random import derive_key
from zs_env.tokens.token_episode import SampleRequest

SEED_BITS = 63

NEUTRAL = {
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Values that leave the distribution as it is: a server would take those of the model's folder."""


class Answer(NamedTuple):
    """What vLLM gives.

    Attributes:
        token_ids: sampled token ids, at least one.
        log_probs: their log-probabilities.
        prompt_log_probs: log-probabilities of the prompt's tokens from the second on, if asked for.
    """

    token_ids: Sequence[int]
    log_probs: Sequence[float]
    prompt_log_probs: Sequence[float] = ()


def turn_options(
    request: SampleRequest, temperature: float, end_of_text: Sequence[int]
) -> dict[str, Any]:
    """Return the options for the rest of a turn.

    Args:
        request: what the episode asks for.
        temperature: divisor of the logits; 0 takes the most likely token.
        end_of_text: tokens that end a turn.
    """
    return {
        **NEUTRAL,
        "temperature": temperature,
        "max_tokens": request.max_tokens,
        # The draws of a turn follow from the episode and from where the turn begins.
        "seed": derive_key("vllm", request.key, len(request.token_ids)) >> (64 - SEED_BITS),
        "stop": list(request.stop),
        "include_stop_str_in_output": True,
        "stop_token_ids": list(end_of_text),
        "ignore_eos": True,  # those of the model's folder may be others
        "skip_special_tokens": False,  # a tag may be one
        "spaces_between_special_tokens": False,
        "logprobs": 0,
    }


def probe_options(temperature: float, num_tokens: int) -> dict[str, Any]:
    """Return the options for the log-probabilities of a prompt and of ``num_tokens`` after it."""
    return {
        **NEUTRAL,
        "temperature": temperature,
        "max_tokens": num_tokens,
        "seed": 0,
        "ignore_eos": True,
        "logprobs": 0,
        "prompt_logprobs": 0,
    }


def checked_answer(answer: Answer, max_tokens: int, name: str) -> Answer:
    """Return ``answer`` if it holds as many finite log-probabilities as tokens.

    Raises:
        SamplerError: it does not; ``name`` says whose it is.
    """
    count = len(answer.token_ids)
    finite = all(map(math.isfinite, [*answer.log_probs, *answer.prompt_log_probs]))
    if not 0 < count <= max_tokens or len(answer.log_probs) != count or not finite:
        raise SamplerError(
            f"{name} returned {count} tokens and {len(answer.log_probs)} log-probabilities"
            f"{'' if finite else ', not all of them finite'}; 1 to {max_tokens} were asked for."
        )
    return answer
