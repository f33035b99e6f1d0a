"""The real search engine."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from zs_env import Document, SearchRequest
from zs_env.concurrency.event_loop import run_to_end
from zs_env.engines import bm25, checked_asearch, load_engine
from zs_env.engines.bm25 import BM25Engine
from zs_env.engines.bm25_index import find_best
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
        ('{"contents": 3}', "c.jsonl:1: `contents` must be a string"),
        ('{"contents": "\\"T\\"\\n "}', "c.jsonl:1: the passage has no text"),
        ('{"text": "a", "id": [1]}', "c.jsonl:1: `id` must be a string or an integer, got [1]"),
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
        load_engine({"name": "bm25", "corpus": tmp_path / "none.jsonl"})


def test_bm25_folder_is_no_corpus(tmp_path):
    (tmp_path / "c.jsonl").mkdir()
    with pytest.raises(CorpusError, match="c.jsonl: expected a file, got a folder"):
        load_engine(tmp_path / "c.jsonl")


@pytest.mark.parametrize("options", [{"corpus": 5}, {"corpus": ["c.jsonl"]}, {"index": 5}])
def test_bm25_what_is_no_path_is_refused(options):
    [(name, value)] = options.items()
    with pytest.raises(TypeError, match=f"`{name}` must be a path, got ") as error:
        load_engine({"name": "bm25", **options})
    assert repr(value) in str(error.value)


def test_bm25_ranks_as_sorting_all_scores_does():
    """Also where scores tie, and where the best of a block of scores are not in the top."""
    rng = np.random.default_rng(0)
    for size in (1, 5, 1023, 1024, 1025, 4096, 10_000):
        for num_values in (2, 5, 1000):
            scores = rng.integers(0, num_values, size).astype(np.float32)
            for top_k in (1, 3, 9, 20_000):
                order = np.argsort(-scores, kind="stable")[:top_k]
                expected = order[scores[order] > 0]
                assert find_best(scores, top_k).tolist() == expected.tolist()


def test_bm25_scores_are_those_of_the_formula():
    """Lucene's BM25, k1 1.5 and b 0.75, worked out for words of one and of two passages."""
    [first, second] = BM25Engine(CORPUS).rank("Peru copper", 5)
    assert (first.passage.id, second.passage.id) == ("2", "0")
    idf_copper, idf_peru = math.log(1 + 2.5 / 1.5), math.log(1 + 1.5 / 2.5)
    mean = (4 + 3 + 4) / 3  # lima lima capital peru; cusco cusco old; peru peru exports copper
    length = 1.5 * (0.25 + 0.75 * 4 / mean)
    expected = idf_copper / (1 + length) + idf_peru * 2 / (2 + length)
    assert first.score == pytest.approx(expected, rel=1e-6)
    assert second.score == pytest.approx(idf_peru / (1 + length), rel=1e-6)


def test_bm25_less_than_one_passage_is_refused():
    with pytest.raises(ValueError, match="`top_k` must be at least 1, got 0"):
        BM25Engine(CORPUS).rank("Lima", 0)


ROWS = [
    {"id": "a7", "contents": '"Lima"\nLima is the capital of Peru.'},
    {"contents": '"A "quoted" title"\nCusco is\nold.'},
    {"id": 30, "contents": "no title\nbut copper"},
    {"contents": '""\nzinc', "title": "kept out"},
    {"text": "tin", "title": "Tin", "contents": "not read"},
]


@pytest.mark.parametrize("options", [{}, {"index": "index"}])
def test_bm25_corpus_as_search_r1_writes_it(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    Path("c.jsonl").write_text("\n\n".join(json.dumps(row) for row in ROWS))
    engine = load_engine({"name": "c.jsonl", **options})

    def passage(query):
        [found] = engine.rank(query, 5)
        return found.passage

    assert passage("capital") == ("a7", Document("Lima is the capital of Peru.", "Lima"))
    assert passage("cusco") == ("1", Document("Cusco is\nold.", 'A "quoted" title'))
    assert passage("copper") == ("30", Document("no title\nbut copper"))
    assert passage("zinc") == ("3", Document("zinc"))
    assert passage("tin") == ("4", Document("tin", "Tin"))


def test_bm25_index_without_a_corpus_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`index` is of a `corpus`"):
        load_engine({"name": "bm25", "index": tmp_path})


@pytest.mark.parametrize("ranked_at_once", [0, 3])
def test_bm25_answers_one_request_as_a_batch_wherever_it_ranks(monkeypatch, ranked_at_once):
    monkeypatch.setattr(bm25, "RANKED_AT_ONCE", ranked_at_once)
    engine = BM25Engine(CORPUS)
    request = SearchRequest("capital of Peru", "?", ("x",), top_k=2)
    assert run_to_end(checked_asearch(engine, request)) == engine.search([request])[0]
