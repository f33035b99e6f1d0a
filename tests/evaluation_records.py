"""Records for the tests of evaluation."""

from __future__ import annotations

from zs_env.evaluation.record import Record, RecordSearch


def make_record(question_id="q0", score=0.0, *, repeat=0, dataset="nq", engine="bm25", **values):
    """A record whose exact match is ``score``; None leaves it without a score."""
    scores = {} if score is None else {"exact_match": score}
    defaults = {
        "question": f"Question {question_id}?",
        "golden_answers": ("Lima",),
        "answer": "Lima" if score == 1.0 else "Cusco",
        "scores": scores,
        "termination": "answered",
        "turns": 2,
    }
    return Record(
        dataset=dataset,
        engine=engine,
        question_id=question_id,
        repeat=repeat,
        **{**defaults, **values},
    )


def make_records(scores, **values):
    """Records of one repeat: ``scores`` by question, in order."""
    return [make_record(f"q{number:03}", score, **values) for number, score in enumerate(scores)]


def make_failure(question_id, **values):
    """A record whose server failed, scored 0.0 as every record without an answer."""
    return make_record(question_id, 0.0, answer=None, failure="no answer of the server", **values)


def make_search(*texts, noisy=False, failure=None):
    documents = tuple(("Title", text) for text in texts)
    return RecordSearch(0, "query", documents, noisy, failure)
