"""The numbers of some records: scores, usage, failures, repeats, cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from zs_env.evaluation.record import Record
from zs_env.evaluation.repeats import majority_at_k, pass_at_k
from zs_env.evaluation.scores import METRICS
from zs_env.evaluation.statistics import Estimate, clustered_mean, mean_of
from zs_env.rewards import may_contain, normalize_answer, substring_match

SUCCESS = "exact_match"
"""Metric that says which repeats are right, for pass@k and majority@k."""


@dataclass(frozen=True)
class Prices:
    """Prices in one currency.

    Raises:
        ValueError: a price is negative, or not finite.
    """

    prompt: float = 0.0
    """Price of a million prompt tokens."""
    completion: float = 0.0
    """Price of a million completion tokens."""
    search: float = 0.0
    """Price of one search."""

    def __post_init__(self) -> None:
        """Check the prices."""
        for field in fields(self):
            price = getattr(self, field.name)
            if not (math.isfinite(price) and price >= 0.0):
                raise ValueError(f"the price `{field.name}` must be at least 0, got {price}.")

    def cost_of(self, records: Iterable[Record]) -> float:
        """Return what the records cost; failed ones cost what they used."""
        return math.fsum(
            (record.prompt_tokens * self.prompt + record.completion_tokens * self.completion) / 1e6
            + len(record.searches) * self.search
            for record in records
        )


@dataclass(frozen=True)
class Summary:
    """The numbers of some records. Only counts and cost say anything of failed ones.

    Attributes:
        questions: number of questions that were asked.
        records: number of records, failed ones included.
        failures: number of failed records.
        repeats: number of repeats.
        scores: mean of each metric over questions; a metric that scored no record is missing.
        unscored: number of records that a metric did not score, if there are any.
        usage: mean of each figure of `USAGE` over questions; empty without records.
        invalid_turns: share of turns that had no action; None without turns.
        pass_at: pass@k by k, where questions have several repeats. A question with fewer than k
            repeats that did not fail does not count.
        majority_at: majority@k by k, in the same way.
        cost: price of all records; None without prices.
    """

    questions: int
    records: int
    failures: int
    repeats: int
    scores: Mapping[str, Estimate]
    unscored: Mapping[str, int]
    usage: Mapping[str, Estimate]
    invalid_turns: float | None
    pass_at: Mapping[int, Estimate]
    majority_at: Mapping[int, Estimate]
    cost: float | None = None

    @property
    def failed_share(self) -> float:
        """Share of the records that failed."""
        return self.failures / self.records if self.records else 0.0


def golden_answer_found(record: Record) -> bool:
    """Return whether a search found a document that contains a golden answer.

    The document may have been cut before the agent read it.
    """
    golden = record.golden_answers
    texts = (f"{title} {text}" for search in record.searches for title, text in search.documents)
    return any(may_contain(text, golden) and substring_match(text, golden) for text in texts)


USAGE: dict[str, Callable[[Record], float]] = {
    "golden_found": golden_answer_found,
    "searches": lambda record: len(record.searches),
    "turns": lambda record: record.turns,
    "prompt_tokens": lambda record: record.prompt_tokens,
    "completion_tokens": lambda record: record.completion_tokens,
}
"""Figures of a record beside its scores, by name."""


def summarise(
    records: Iterable[Record], prices: Prices | None = None, success: str = SUCCESS
) -> Summary:
    """Return the numbers of ``records``, whatever their order.

    Args:
        records: records of one run.
        prices: prices, if costs are to be computed.
        success: metric that says which repeats are right: those with a score of 1.0.
    """
    played = sorted(records, key=lambda record: record.key)
    kept = [record for record in played if not record.failed]
    names = metric_names(kept)
    scored = {name: [record for record in kept if name in record.scores] for name in names}
    turns = sum(record.turns for record in kept)
    invalid = sum(record.invalid_turns for record in kept)
    repeats = _repeats_of([record for record in kept if success in record.scores])
    sizes = _sizes(max(map(len, repeats), default=1))
    return Summary(
        questions=len(set(map(question_of, played))),
        records=len(played),
        failures=len(played) - len(kept),
        repeats=len({record.repeat for record in played}),
        scores={name: _mean(scored[name], _score_of(name)) for name in names},
        unscored={n: len(kept) - len(some) for n, some in scored.items() if len(some) < len(kept)},
        usage={name: _mean(kept, value_of) for name, value_of in USAGE.items() if kept},
        invalid_turns=invalid / turns if turns else None,
        pass_at={k: _pass_at(repeats, k, success) for k in sizes},
        majority_at={k: _majority_at(repeats, k, success) for k in sizes},
        cost=prices.cost_of(played) if prices else None,
    )


def metric_names(records: Iterable[Record]) -> list[str]:
    """Return the metrics of the records: those of `METRICS` first, then by name."""
    found = {name for record in records for name in record.scores}
    return [name for name in METRICS if name in found] + sorted(found - METRICS.keys())


def question_of(record: Record) -> tuple[str, str]:
    """Return what the repeats of a question share, on every engine."""
    return record.dataset, record.question_id


def _score_of(name: str) -> Callable[[Record], float]:
    return lambda record: record.scores[name]


def _mean(records: Sequence[Record], value_of: Callable[[Record], float]) -> Estimate:
    return clustered_mean(map(value_of, records), map(question_of, records))


def _repeats_of(records: Sequence[Record]) -> list[list[Record]]:
    questions: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        questions.setdefault(question_of(record), []).append(record)
    return list(questions.values())


def _sizes(repeats: int) -> list[int]:
    """Return the values of k to report: powers of two, and all repeats; none for one repeat."""
    powers = [2**power for power in range(repeats.bit_length())]
    return sorted({*powers, repeats}) if repeats > 1 else []


def _pass_at(repeats: Sequence[Sequence[Record]], k: int, success: str) -> Estimate:
    return mean_of(
        [
            pass_at_k(len(own), sum(record.scores[success] == 1.0 for record in own), k)
            for own in repeats
            if len(own) >= k
        ]
    )


def _majority_at(repeats: Sequence[Sequence[Record]], k: int, success: str) -> Estimate:
    return mean_of(
        [
            majority_at_k(
                [None if record.answer is None else _vote(record.answer) for record in own],
                [record.scores[success] for record in own],
                k,
            )
            for own in repeats
            if len(own) >= k
        ]
    )


def _vote(answer: str) -> str:
    return normalize_answer(answer) or answer.lower()
