"""A policy without a model, which does all that a policy can do, and does it again."""

from __future__ import annotations

from collections.abc import Sequence

from zs_env.episodes import EpisodeSource
from zs_env.keyed_random import Stream
from zs_env.prompts import render_prompt
from zs_env.questions import Question
from zs_env.tokens.encoder import TextEncoder
from zs_env.tokens.token_episode import SampleRequest

LOG_PROB_UNIT = 1 / 1024
"""Unit of the log-probabilities, which are exact in float32."""


class ScriptedPolicy:
    """Policy that searches, answers rightly and wrongly, and errs.

    A turn follows from the context alone, so that a policy which reads the same writes the same.
    The log-probability of a token says where it stands: a shifted one is seen.

    Args:
        source: source of the episodes, with its questions and its prompt.
        question_ids: ids of the questions that it is asked.
        encoder: encoder of the tokens; None for a policy that writes texts alone.
    """

    def __init__(
        self,
        source: EpisodeSource,
        question_ids: Sequence[str],
        encoder: TextEncoder | None = None,
    ) -> None:
        questions = [source.find(question_id) for question_id in question_ids]
        prompts = [render_prompt(source.rules.prompt_template, q.text) for q in questions]
        self._questions = dict(zip(prompts, questions, strict=True))
        self._encoder = encoder
        self._by_ids: dict[tuple[int, ...], Question] = {}
        if encoder is not None:
            self._by_ids = {encoder.encode(prompt): q for prompt, q in self._questions.items()}

    def write(self, transcript: str) -> str:
        """Return the turn that follows ``transcript``."""
        for prompt, question in self._questions.items():
            if transcript.startswith(prompt):
                return _turn(question, Stream("scripted policy", transcript), "")
        raise ValueError(f"expected the prompt of a known question, got {transcript[:80]!r}.")

    def sample_one(
        self, token_ids: Sequence[int], max_tokens: int
    ) -> tuple[list[int], list[float]]:
        """Return the tokens of the turn that follows ``token_ids``, and their log-probabilities.

        Raises:
            ValueError: the context does not begin with the prompt of a known question.
        """
        context, encoder = tuple(token_ids), self._encoder
        assert encoder is not None  # asked for tokens, it was given the tokenizer
        asked = [q for prompt, q in self._by_ids.items() if context[: len(prompt)] == prompt]
        if not asked:
            raise ValueError(
                f"the context of {len(context)} tokens begins with no prompt of the script: it "
                "must be the prompt that the episode source writes, token for token."
            )
        draw = Stream("scripted policy", *context)
        ids = list(encoder.encode(_turn(asked[0], draw, "hm " * max_tokens)))
        ended = encoder.turn_is_over(ids, len(ids) + 1)
        ids = ids[:max_tokens] if ended else [*ids, encoder.end_of_text][:max_tokens]
        return ids, [-(len(context) + i + 1) * LOG_PROB_UNIT for i in range(len(ids))]

    async def generate(
        self, token_ids: Sequence[int], stop: Sequence[str], max_tokens: int
    ) -> tuple[list[int], list[float]]:
        """Sample for `zs_env.tokens.rollout.rollout`."""
        return self.sample_one(token_ids, max_tokens)

    def sample(self, requests: Sequence[SampleRequest]) -> list[tuple[list[int], list[float]]]:
        """Sample for `zs_env.tokens.play.play`."""
        return [self.sample_one(request.token_ids, request.max_tokens) for request in requests]


def _turn(question: Question, draw: Stream, filler: str) -> str:
    """Return one turn; ``filler`` is text that spends what a turn may hold."""
    words = question.text.rstrip("?").split()
    known = question.golden_answers[0]
    search = f"<search> {' '.join(draw.shuffled(words)[:5])} </search>"
    turns = [
        search,
        search,
        f"<think> the fact </think> {search}",
        f"<search> {known} </search>",
        f"<answer> {known} </answer>",
        f"<answer> {known} {words[-1]} </answer>",
        f"<answer> {words[-1]} </answer>",
        f"<search> {words[-1]} </search> <answer> {known} </answer>",
        "the fact",
        "<search> </search>",
        f"<think> {filler}",
    ]
    return draw.choice(turns)
