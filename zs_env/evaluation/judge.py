"""A language model as a judge of answers: one more metric."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from zs_env.actions import without_thoughts
from zs_env.documents import clean_text
from zs_env.errors import SearchFailure, ServiceError
from zs_env.evaluation.models import load_model
from zs_env.evaluation.record import Record
from zs_env.llm import ChatRequest, Completion, LanguageModel, Message

PROMPT = """\
Does the answer to the question mean the same as one of the golden answers? It may be worded in \
another way, or say more, if that is not wrong. Reply with one word: yes or no.
Question: {question}
Golden answers: {golden_answers}
Answer: {answer}
Same meaning:"""

_VERDICT = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


class Judge:
    """Metric that is 1.0 where a language model takes the answer for right, and else 0.0.

    The judge is asked at temperature 0. It can be wrong, and is worth what its agreement with
    people is worth: say which model it was.

    Args:
        llm: model that judges, see `zs_env.evaluation.models.load_model`; or an object.
        score_name: name of the score.
        max_tokens: most tokens of its reply, thoughts included.
        options: options of a model given by name.

    Raises:
        TypeError: options come with a model that is not given by its name alone.
    """

    def __init__(
        self,
        llm: str | Mapping[str, Any] | LanguageModel,
        score_name: str = "judge",
        max_tokens: int = 512,
        **options: Any,
    ) -> None:
        if options and not isinstance(llm, str):
            raise TypeError(
                f"the judge takes options only with the name of a model, got {', '.join(options)} "
                f"with a {type(llm).__name__}."
            )
        named = {"name": llm, **options} if options else llm
        self._llm = load_model(named)
        self._max_tokens = max_tokens
        self.name = score_name

    def score(self, records: Sequence[Record]) -> list[float | None]:
        """Return the verdict on each answer; 0.0 where there is none.

        None where the judge gave neither yes nor no, or could not be asked.

        Raises:
            ServiceError: the judge could not be asked about any answer, or gave no verdict at all.
        """
        answered = [number for number, record in enumerate(records) if record.answer is not None]
        outcomes = self._llm.complete([self._request(records[number]) for number in answered])
        failures = [outcome for outcome in outcomes if isinstance(outcome, SearchFailure)]
        if failures and len(failures) == len(answered):
            raise ServiceError(f"the judge cannot be asked: {failures[0]}")
        scores: list[float | None] = [0.0] * len(records)
        for number, outcome in zip(answered, outcomes, strict=True):
            if isinstance(outcome, SearchFailure):
                scores[number] = None
            else:
                scores[number] = read_verdict(outcome.text)
        if answered and all(scores[number] is None for number in answered):
            replies = [outcome.text for outcome in outcomes if isinstance(outcome, Completion)]
            raise ServiceError(
                f"the judge gave no verdict, but wrote {replies[0][:80]!r}: choose another model, "
                "or a larger `max_tokens` if it reasons."
            )
        return scores

    def _request(self, record: Record) -> ChatRequest:
        assert record.answer is not None
        prompt = PROMPT.format(
            question=clean_text(record.question),
            golden_answers="; ".join(map(clean_text, record.golden_answers)),
            answer=clean_text(record.answer),
        )
        return ChatRequest((Message("user", prompt),), temperature=0.0, max_tokens=self._max_tokens)


def read_verdict(text: str) -> float | None:
    """Return 1.0 for a reply of yes, 0.0 for no, None for neither or both, thoughts aside."""
    verdicts = {match.lower() for match in _VERDICT.findall(without_thoughts(text) or "")}
    if len(verdicts) != 1:
        return None
    return float(verdicts == {"yes"})
