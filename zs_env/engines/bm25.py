"""Real search engine: BM25 over the pages of the embedded world, or over any other corpus."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zs_env.documents import Document, SearchRequest, SearchResult
from zs_env.engines.base import SearchEngine
from zs_env.engines.bm25_index import BM25S_VERSION, find_best, index_texts, score_texts
from zs_env.engines.corpus import Passage, PassageList, Passages, Ranked, read_corpus
from zs_env.engines.saved_index import open_or_build
from zs_env.errors import CorpusError
from zs_env.files import check_file
from zs_env.world import load_world
from zs_env.world.text import corpus as world_corpus

if TYPE_CHECKING:
    import bm25s


RANKED_AT_ONCE = 20_000
"""Most passages that are ranked on the event loop itself: in less than a millisecond.

So that `zs_env.tokens.play.play` is the same each time.
"""


class BM25Engine(SearchEngine):
    """Engine that finds the documents with the highest BM25 scores; it ignores ``noisy``.

    Only documents that share a word with the query are returned, so there may be fewer than
    ``top_k``, or none. Searches may come from several threads at once.

    Args:
        documents: documents of the corpus; their titles are searched too.
        name: source of the corpus, for error messages.
        index: index of these documents, if it exists already; see `zs_env.engines.saved_index`.

    Raises:
        CorpusError: there is no document, or no document has a word.
    """

    honours_noise = False

    def __init__(
        self,
        documents: Sequence[Document] | Passages,
        name: str = "corpus",
        index: bm25s.BM25 | None = None,
    ) -> None:
        self.passages: Passages = (
            documents if isinstance(documents, Passages) else PassageList.of(documents)
        )
        texts = (passage.searched_text for passage in self.passages)
        self.index = index_texts(texts, name) if index is None else index

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Rank the corpus for each query."""
        return [
            SearchResult(
                tuple(found.passage.document for found in self.rank(request.query, request.top_k))
            )
            for request in requests
        ]

    async def asearch(self, request: SearchRequest) -> SearchResult:
        """Rank the corpus for one query; a large one in a thread, so that others need not wait."""
        if len(self.passages) <= RANKED_AT_ONCE:
            return self.search([request])[0]
        return await super().asearch(request)

    def identity(self) -> dict[str, Any]:
        """Return a hash of all passages, and the version of the library that ranks them."""
        content = blake2b(digest_size=16)
        for passage in self.passages:
            content.update(repr(passage.document).encode())
        return {"passages": content.hexdigest(), "bm25s": BM25S_VERSION}

    def rank(self, query: str, top_k: int) -> list[Ranked]:
        """Return the passages with the highest scores, best first; ties in the corpus's order.

        A passage with a positive BM25 score shares a word with the query; no other is returned.

        Args:
            query: any text; a word that occurs twice counts twice.
            top_k: number of passages, at least 1.

        Raises:
            ValueError: ``top_k`` is less than 1.
        """
        if top_k < 1:
            raise ValueError(f"`top_k` must be at least 1, got {top_k}.")
        scores = score_texts(self.index, query)
        if scores is None:
            return []
        best = find_best(scores, top_k)
        passages = self.passages.read(best.tolist())
        return [Ranked(*pair) for pair in zip(passages, scores[best].tolist(), strict=True)]


def load(
    corpus: str | Path | None = None,
    world_seed: int = 0,
    world_size: str = "small",
    index: str | Path | None = None,
) -> BM25Engine:
    """Make the engine over a corpus file, or over the pages of the embedded world.

    Args:
        corpus: path of a ``.jsonl`` file with ``text`` and optionally ``title`` and ``id`` in
            each line, or with ``contents``, as Search-R1 writes them; None for the world.
        world_seed: seed of the embedded world.
        world_size: size of the embedded world.
        index: folder of a saved index of ``corpus``, opened without reading the corpus into
            memory. If the folder holds no index of the corpus as it is now, it is built first.

    Raises:
        ValueError: ``index`` is given without ``corpus``.
        TypeError: ``corpus`` or ``index`` is not a path.
        CorpusError: the file is missing or broken, a passage has no text, or the index cannot be
            written.
    """
    for name, path in (("corpus", corpus), ("index", index)):
        if not isinstance(path, str | Path | None):
            raise TypeError(f"`{name}` must be a path, got {path!r}.")
    if corpus is None:
        if index is not None:
            raise ValueError(f"`index` is of a `corpus`, got {str(index)!r} and no corpus.")
        return _load_world(world_seed, world_size)
    path = Path(corpus)
    check_file(path, CorpusError)
    # The time of the last change is part of the cache's key: a changed file is indexed again.
    return _load_file(
        path.resolve(), path.stat().st_mtime_ns, None if index is None else Path(index).resolve()
    )


@lru_cache(maxsize=2)
def _load_world(world_seed: int, world_size: str) -> BM25Engine:
    world = load_world(world_seed, world_size)
    passages = PassageList(
        Passage(page.id, Document(page.text, page.title)) for page in world_corpus(world)
    )
    return BM25Engine(passages, name=repr(world))


@lru_cache(maxsize=2)
def _load_file(path: Path, modified_ns: int, index: Path | None) -> BM25Engine:
    """Index or open a file once for all environments of this process."""
    if index is None:
        return BM25Engine(PassageList(read_corpus(path)), name=str(path))
    passages, opened = open_or_build(path, index)
    return BM25Engine(passages, index=opened)
