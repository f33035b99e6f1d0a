"""The real search engine."""

from __future__ import annotations

import pytest

from zs_env import Document, SearchRequest
from zs_env.engines import load_engine
from zs_env.engines.bm25 import BM25Engine
from zs_env.errors import CorpusError

CORPUS = [
    Document("Lima is the capital of Peru.", "Lima"),
    Document("Cusco is old.", "Cusco"),
    Document("Peru exports copper.", "Peru"),
]


def find(engine, query, top_k=5, **kwargs):
    [result] = engine.search([SearchRequest(query, "?", ("x",), top_k=top_k, **kwargs)])
    return list(result.documents)


def test_bm25_ranks_by_shared_words_and_searches_titles():
    engine = BM25Engine(CORPUS)
    assert find(engine, "capital of PERU?") == [CORPUS[0], CORPUS[2]]
    assert find(engine, "capital of Peru", top_k=1) == [CORPUS[0]]
    assert find(engine, "cusco") == [CORPUS[1]]


def test_bm25_more_documents_asked_than_there_are():
    assert len(find(BM25Engine(CORPUS), "Lima Cusco Peru", top_k=99)) == 3


@pytest.mark.parametrize("query", ["unheard", "the of", "?!", "\x00", "漢字", "x" * 100_000])
def test_bm25_query_without_a_known_word_finds_nothing(query):
    assert find(BM25Engine(CORPUS), query) == []


def test_bm25_ties_are_in_the_order_of_the_corpus():
    twins = [Document(f"same words aa{i % 50}") for i in range(200)]
    assert find(BM25Engine(twins), "same", top_k=3) == twins[:3]
    assert find(BM25Engine(twins), "aa1 same", top_k=5) == [*twins[1::50], twins[0]]


def test_bm25_is_real_and_ignores_noise_and_golden_answers():
    engine = BM25Engine(CORPUS)
    assert not engine.honours_noise
    assert find(engine, "Lima", noisy=True) == find(engine, "Lima", noisy=False)


def test_bm25_corpus_of_a_file(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": 1, "title": "T", "text": "Lima"}\n\n{"id": 2, "text": "Cusco"}\n')
    engine = load_engine(path)
    assert find(engine, "lima") == [Document("Lima", "T")]
    assert load_engine(path) is engine, "a file is indexed once"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are no passages"),
        ('{"title": "T"}', "c.jsonl:1: the passage has no text"),
        ('{"text": "a"}\n{"text": " "}', "c.jsonl:2: the passage has no text"),
        ('{"text": 3}', "c.jsonl:1: `text` must be a string"),
        ("{", "c.jsonl:1: not a line of JSON"),
        ('{"text": "?!"}', "there are no words to index"),
    ],
)
def test_bm25_broken_corpus_is_refused(tmp_path, text, message):
    path = tmp_path / "c.jsonl"
    path.write_text(text)
    with pytest.raises(CorpusError) as error:
        load_engine(path)
    assert message in str(error.value)


def test_bm25_missing_corpus_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="no such file"):
        load_engine("bm25", {"corpus": tmp_path / "none.jsonl"})
