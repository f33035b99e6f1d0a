"""Whether questions can be answered from what is searched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation_records import make_record, make_search
from tests.helpers import FixedEngine
from zs_env import Document, Question, SearchFailure
from zs_env.engines import SearchEngine
from zs_env.evaluation.answerability import along_searches, in_corpus, in_top, with_names
from zs_env.evaluation.share import Share
from zs_env.rewards import substring_match


def ask(*answers):
    return [Question(f"q{i}", f"{i}?", golden) for i, golden in enumerate(answers)]


def test_yes_and_no_are_left_out_whatever_their_form():
    questions = ask("yes", "No!", ("Yes", "YES."), ("yes", "no"), ("yes", "Lima"), "yes sir")
    assert [q.id for q in with_names(questions)] == ["q3", "q4", "q5"]


WORDS = st.lists(st.sampled_from(["a", "the", "rio", "RIO,", "de", "janeiro", "é", "?", "x-y"]))
TEXTS = WORDS.map(" ".join)


@given(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=4), st.lists(TEXTS, max_size=4))
def test_in_corpus_is_a_substring_match_with_some_document(answers, texts):
    """The index by words must find all that comparing each with each finds."""
    corpus = [Document(text, title="Rio" if len(text) % 2 else "") for text in texts]
    questions = ask(*answers)
    expected = sum(
        any(substring_match(f"{d.title} {d.text}", q.golden_answers) for d in corpus)
        for q in questions
        # Words that normalisation would leave nothing of are in no text that has others.
        if q.golden_answers[0].lower().replace("?", "").split() not in ([], ["a"], ["the"])
        and set(q.golden_answers[0].lower().split()) - {"a", "the", "?"}
    )
    assert in_corpus(questions, corpus) == Share(expected, len(questions))


def test_in_corpus_counts_a_question_once_and_reads_the_corpus_once():
    corpus = iter([Document("Lima and Cusco"), Document("lima")])
    assert in_corpus(ask(("Lima", "Cusco"), "Lima", "Li ma"), corpus) == Share(2, 3)


class Ranking(SearchEngine):
    """Finds the answer at the place that the question names."""

    def __init__(self):
        self.asked = []

    async def asearch(self, request):
        self.asked.append(request)
        texts = [f"nothing {i}" for i in range(6)]
        texts[int(request.query[0])] = " ".join(request.golden_answers)
        return FixedEngine(*texts).result


def test_in_top_reads_no_more_documents_than_were_asked_for():
    engine = Ranking()
    questions = ask(*["Lima"] * 4)
    assert in_top(questions, engine, 2) == Share(2, 4)
    assert {request.top_k for request in engine.asked} == {2}
    assert in_top(questions, engine, 3) == Share(3, 4)


def test_in_top_asks_about_many_questions_in_their_order():
    questions = [Question(str(i), f"{i % 6} {i}", "Lima") for i in range(600)]
    assert in_top(questions, Ranking(), 1) == Share(100, 600)


def test_in_top_passes_on_that_the_engine_failed():
    with pytest.raises(SearchFailure, match="no server"):
        in_top(ask("Lima"), FixedEngine(failure="no server"), 2)


def test_along_searches_by_dataset_and_engine():
    lima = (make_search("x", "in LIMA."),)
    records = [
        make_record("q0", searches=lima),
        make_record("q0", engine="google"),
        make_record("q1", dataset="hotpotqa", searches=(make_search("Li", "ma"),)),
        make_record("q1", repeat=1, searches=lima),
        make_record("q1", repeat=2),
        make_record("q2", golden_answers=("no",), searches=(make_search("no"),)),
    ]
    assert along_searches(records) == {
        ("hotpotqa", "bm25"): Share(0, 1),
        ("nq", "bm25"): Share(2, 2),
        ("nq", "google"): Share(0, 1),
    }


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (Share(0, 0), "–"),
        (Share(0, 10), "0% (0% – 28%)"),
        (Share(5, 10), "50% (24% – 76%)"),  # as in tables of Wilson's interval
        (Share(10, 10), "100% (72% – 100%)"),
    ],
)
def test_share(share, text):
    assert str(share) == text
