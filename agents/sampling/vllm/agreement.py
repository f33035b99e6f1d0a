"""The sampler's log-probabilities of a fixed text, held against the learner's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from agents.sampling.errors import SamplerError
from agents.sampling.policy import Policy
from agents.sampling.vllm.requests import Answer

NUM_PROMPT, NUM_SAMPLED = 120, 8
"""Tokens of the text that are given, and tokens that the sampler adds."""

MOVED = 1e-4
"""Change of a log-probability of the learner's from which the sampler's must change as well."""


class _Scores(NamedTuple):
    """Log-probabilities of the text's tokens from the second on."""

    token_ids: list[int]
    sampler: list[float]
    learner: list[float]


class Agreement:
    """Comparison of samplers with ``policy`` on a fixed text.

    Args:
        policy: policy in training.
        text: any text; it is cut, or repeated, to `NUM_PROMPT` tokens.
        tolerance: largest difference of a token's log-probabilities.

    Attributes:
        token_ids: ids of the text.
    """

    def __init__(self, policy: Policy, text: str, tolerance: float) -> None:
        self._policy = policy
        self._tolerance = tolerance
        ids = list(policy.encoder.encode(text))
        self.token_ids = (ids * NUM_PROMPT)[:NUM_PROMPT]
        self._last: dict[str, _Scores] = {}

    def check(self, name: str, answer: Answer) -> float:
        """Return the largest difference of a token's log-probabilities.

        Args:
            name: of the sampler.
            answer: its log-probabilities of the text, and tokens that it added.

        Raises:
            SamplerError: the difference is too large, or the learner has moved and the sampler has
                not.
        """
        token_ids = [*self.token_ids, *answer.token_ids]
        sampler = [*answer.prompt_log_probs, *answer.log_probs]
        if len(sampler) != len(token_ids) - 1:
            raise SamplerError(
                f"{name} returned {len(answer.prompt_log_probs)} log-probabilities for a text of "
                f"{len(self.token_ids)} tokens: is its vLLM too old for `prompt_logprobs`?"
            )
        scores = _Scores(token_ids, sampler, self._learner(token_ids))
        gaps = [abs(a - b) for a, b in zip(scores.sampler, scores.learner, strict=True)]
        worst = max(range(len(gaps)), key=gaps.__getitem__)
        # Negated, so that NaN is caught.
        if not gaps[worst] <= self._tolerance:
            raise SamplerError(self._explain(name, scores, worst))
        last = self._last.get(name)
        if last is not None and _has_stayed(last, scores):
            raise SamplerError(
                f"{name} has kept its old weights: its log-probabilities of a fixed text are the "
                "same to the last digit, and the learner's have changed by up to "
                f"{_change(last.learner, scores.learner):.2g} (the last token's from "
                f"{last.learner[-1]:.6f} to {scores.learner[-1]:.6f}; the sampler's stays "
                f"{scores.sampler[-1]:.6f})."
            )
        self._last[name] = scores
        return gaps[worst]

    @torch.no_grad()
    def _learner(self, token_ids: Sequence[int]) -> list[float]:
        policy = self._policy
        policy.eval()
        ids = torch.tensor([token_ids], device=policy.device)
        _, logits = policy.causal_model.at(
            ids[:, :-1], torch.ones_like(ids[:, 1:], dtype=torch.bool)
        )
        logits = logits.float()
        # vLLM divides by the temperature only what it samples.
        logits[len(self.token_ids) - 1 :] /= policy.temperature
        log_probs: list[float] = logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0].tolist()
        return log_probs

    def _explain(self, name: str, scores: _Scores, worst: int) -> str:
        message = (
            f"{name} and the learner do not agree: the log-probability of token {worst + 1} of a "
            f"fixed text is {scores.sampler[worst]:.6f} by the sampler and "
            f"{scores.learner[worst]:.6f} by the learner, more than `sampler_tolerance` = "
            f"{self._tolerance:g} apart. "
        )
        num_given = len(self.token_ids) - 1
        if worst >= num_given and self._policy.temperature != 1.0:
            return message + (
                "Only what was sampled differs? With a `temperature` other than 1, a server must "
                "be started with `--logprobs-mode processed_logprobs`."
            )
        return message + (
            "Either it serves another model, or it has not taken the new weights (was it started "
            "again? A model with tied embeddings may need to be served untied), or it computes in "
            "another precision: serve it with the learner's `--dtype`, or raise "
            "`sampler_tolerance`."
        )


def _has_stayed(before: _Scores, now: _Scores) -> bool:
    """Return whether the learner has moved, and the sampler has not at all."""
    if before.token_ids != now.token_ids or before.sampler != now.sampler:
        return False
    return _change(before.learner, now.learner) > MOVED


def _change(before: Sequence[float], now: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(before, now, strict=True))
