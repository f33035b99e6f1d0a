"""A real search engine: BM25 over the pages of the embedded world, or over any other corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines.base import SearchEngine
from zs_env.errors import CorpusError, MissingDependencyError
from zs_env.files import read_jsonl
from zs_env.world import load_world
from zs_env.world.text import corpus as world_corpus

try:
    import bm25s
except ImportError as error:
    raise MissingDependencyError.for_extra("The engine 'bm25'", "bm25s", "bm25") from error


class BM25Engine(SearchEngine):
    """Finds the documents with the highest BM25 score for the query; ignores ``noisy``.

    Only documents that share a word with the query are returned, so there may be fewer than
    ``top_k``, or none.

    Args:
        documents: the corpus; titles are searched too.
        name: where the corpus comes from, for error messages.

    Raises:
        CorpusError: there is no document, or none has a word.
    """

    honours_noise = False

    def __init__(self, documents: Sequence[Document], name: str = "corpus") -> None:
        self.documents = documents
        if not documents:
            raise CorpusError(f"{name}: there are no passages.")
        tokens = _tokenize([f"{document.title} {document.text}" for document in documents])
        if not any(tokens):
            raise CorpusError(f"{name}: there are no words to index.")
        self._index = bm25s.BM25()
        self._index.index(tokens, show_progress=False)

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Rank the corpus for each query."""
        queries = _tokenize([request.query for request in requests])
        return [
            self._best(query, request.top_k)
            for query, request in zip(queries, requests, strict=True)
        ]

    def _best(self, query: list[str], top_k: int) -> SearchResult:
        known = [word for word in query if word in self._index.vocab_dict]
        if not known:
            return SearchResult()
        scores = self._index.get_scores(known)
        if len(scores) > top_k:
            least = np.partition(scores, -top_k)[-top_k]
            best = np.flatnonzero((scores > 0) & (scores >= least))
        else:
            best = np.flatnonzero(scores > 0)
        # Ties are in the order of the corpus.
        best = best[np.argsort(-scores[best], kind="stable")][:top_k]
        return SearchResult(tuple(self.documents[index] for index in best.tolist()))


def _tokenize(texts: Sequence[str]) -> list[list[str]]:
    tokens: list[list[str]] = bm25s.tokenize(
        list(texts), stopwords="en", return_ids=False, show_progress=False
    )
    return tokens


def load(
    corpus: str | Path | None = None, world_seed: int = 0, world_size: str = "small"
) -> BM25Engine:
    """The engine over a corpus file, or over the pages of the embedded world.

    Args:
        corpus: path of a ``.jsonl`` file with ``text`` and optionally ``title`` and ``id`` in
            each line; None for the world.
        world_seed: seed of the embedded world.
        world_size: size of the embedded world.

    Raises:
        CorpusError: the file is missing or broken, or a passage has no text.
    """
    if corpus is None:
        return _load_world(world_seed, world_size)
    path = Path(corpus)
    if not path.is_file():
        raise CorpusError(f"{path}: there is no such file.")
    return _load_file(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _load_world(world_seed: int, world_size: str) -> BM25Engine:
    world = load_world(world_seed, world_size)
    documents = [Document(passage.text, passage.title) for passage in world_corpus(world)]
    return BM25Engine(documents, name=repr(world))


@lru_cache(maxsize=2)
def _load_file(path: Path, modified_ns: int) -> BM25Engine:
    """Index a file once, however many environments ask for it."""
    return BM25Engine(list(_read_corpus(path)), name=str(path))


def _read_corpus(path: Path) -> Iterator[Document]:
    for place, row in read_jsonl(path, CorpusError):
        text, title = _text_field(place, row, "text"), _text_field(place, row, "title")
        if not text.strip():
            raise CorpusError(f"{place}: the passage has no text.")
        yield Document(text, title)


def _text_field(place: str, row: dict[str, Any], name: str) -> str:
    value = row.get(name) or ""
    if not isinstance(value, str):
        raise CorpusError(f"{place}: `{name}` must be a string, got {value!r}.")
    return value
