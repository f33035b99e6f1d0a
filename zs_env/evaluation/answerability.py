"""Answerability: whether what an engine searches holds the golden answers at all.

A score on questions is bounded by it: of the questions of published tables, more than a third
cannot be answered from the corpus that is searched (arXiv 2605.27881).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from zs_env.documents import Document, SearchRequest, clean_text
from zs_env.engines import SearchEngine, checked_search
from zs_env.errors import SearchFailure
from zs_env.evaluation.record import Record
from zs_env.evaluation.share import Share
from zs_env.evaluation.summary import golden_answer_found
from zs_env.questions import Question
from zs_env.rewards import YES_NO, may_contain, normalize_answer, substring_match

BATCH = 256


def with_names(questions: Iterable[Question]) -> list[Question]:
    """Return the questions that ask for more than yes or no."""
    return [
        question
        for question in questions
        if {normalize_answer(golden) for golden in question.golden_answers} not in YES_NO
    ]


def in_corpus(questions: Sequence[Question], corpus: Iterable[Document]) -> Share:
    """Count the questions of which a golden answer occurs in a document of ``corpus``.

    As `zs_env.rewards.substring_match` compares: as consecutive words of one document.

    Args:
        questions: questions; see `with_names`.
        corpus: all documents; read once.
    """
    wanted: dict[str, set[int]] = defaultdict(set)
    for number, question in enumerate(questions):
        for golden in question.golden_answers:
            wanted[normalize_answer(golden)].add(number)
    wanted.pop("", None)
    # An answer is looked for only in documents that hold its longest word.
    by_word: dict[str, list[str]] = defaultdict(list)
    for answer in wanted:
        by_word[max(answer.split(), key=len)].append(answer)
    found: set[int] = set()
    for document in corpus:
        text = normalize_answer(f"{document.title} {document.text}")
        candidates = [answer for word in by_word.keys() & text.split() for answer in by_word[word]]
        found.update(*(wanted[answer] for answer in candidates if f" {answer} " in f" {text} "))
    return Share(len(found), len(questions))


def in_top(questions: Sequence[Question], engine: SearchEngine, top_k: int) -> Share:
    """Count the questions of which a document that is found for the question has a golden answer.

    Args:
        questions: questions; see `with_names`.
        engine: engine that is asked.
        top_k: documents for each question.

    Returns:
        Their share of the questions on which the engine did not give up.

    Raises:
        SearchFailure: the engine gave up on all questions.
    """
    found = answered = 0
    failure: SearchFailure | None = None
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        requests = [
            SearchRequest(clean_text(each.text), each.text, each.golden_answers, top_k=top_k)
            for each in batch
        ]
        for question, result in zip(batch, checked_search(engine, requests), strict=True):
            failure = result.failure or failure
            answered += result.failure is None
            found += any(
                holds_answer(document.title, document.text, question.golden_answers)
                for document in result.documents[:top_k]
            )
    if failure is not None and not answered:
        raise failure
    return Share(found, answered)


def along_searches(records: Iterable[Record]) -> dict[tuple[str, str], Share]:
    """Count the questions of which a document of a kept search has a golden answer.

    Repeats of a question count as one, and one that found it is enough.

    Returns:
        Share by dataset and engine.
    """
    seen: dict[tuple[str, str], dict[str, bool]] = defaultdict(dict)
    for record in records:
        if {normalize_answer(golden) for golden in record.golden_answers} in YES_NO:
            continue
        cell = seen[record.dataset, record.engine]
        cell[record.question_id] = cell.get(record.question_id, False) or golden_answer_found(
            record
        )
    return {key: Share(sum(cell.values()), len(cell)) for key, cell in sorted(seen.items())}


def holds_answer(title: str, text: str, golden_answers: Sequence[str]) -> bool:
    """Return whether a document has a golden answer."""
    whole = f"{title} {text}"
    return may_contain(whole, golden_answers) and bool(substring_match(whole, golden_answers))
