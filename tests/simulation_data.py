"""Searches for the tests of `zs_env.simulation`: of the embedded world by BM25, and made up."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from zs_env import Document
from zs_env.evaluation.run import Plan, evaluate
from zs_env.simulation.judges import SearchJudge, load_judge
from zs_env.simulation.searches import CollectedSearch, searches_of
from zs_env.world import load_world

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
WORLD = load_world()
QUESTIONS = "world,split=train"


@lru_cache
def world_searches(num_questions=150):
    """Searches of the explorer on BM25, judged by the world."""
    plan = Plan(method="explorer", questions=[QUESTIONS], engines=["bm25"],
                num_questions=num_questions)  # fmt: skip
    searches = searches_of(evaluate(plan, show_progress=False)).searches
    return tuple(judged(searches, load_judge("world")))


def judged(searches, *judges: SearchJudge):
    """``searches`` with the verdicts of ``judges``."""
    searches = list(searches)
    for judge in judges:
        verdicts = {}
        judge.judge(searches, verdicts.__setitem__)
        searches = [
            search
            if verdicts.get(number) is None
            else search.judged({judge.name: verdicts[number]})
            for number, search in enumerate(searches)
        ]
    return searches


def make_search(number=0, texts=("Lima is the capital of Peru.",), **values):
    """A search that is not about the embedded world."""
    documents = tuple(t if isinstance(t, Document) else Document(t, "Page") for t in texts)
    defaults = {
        "question_id": f"q{number}",
        "question": f"What is the capital of Peru, number {number}?",
        "golden_answers": ("Lima",),
        "turn": 0,
        "query": f"capital of Peru {number}",
        "documents": documents,
        "engine": "web",
        "dataset": "nq",
    }
    return CollectedSearch(**{**defaults, **values})


def environment():
    """Environment of a program that imports the tests."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def one_search(request):
    """A policy that searches for its question, and then answers."""
    if request.prefill:
        return "<answer>x</answer>"
    question = request.messages[0].content.rpartition("Question: ")[2]
    return f"<search>{question.strip()}</search>"
