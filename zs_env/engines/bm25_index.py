"""BM25: an index of texts, the scores of a query, and the highest scores."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from zs_env.errors import CorpusError, MissingDependencyError

try:
    import bm25s
except ImportError as error:
    raise MissingDependencyError.for_extra("The engine 'bm25'", "bm25s", "bm25") from error

BM25S_VERSION = str(bm25s.__version__)
STOPWORDS = "en"
BLOCK = 1024
"""Scores of a block, of which `find_best` first takes only the maximum."""


def index_texts(texts: Iterable[str], name: str) -> bm25s.BM25:
    """Build the index of ``texts``, which are not kept.

    Args:
        texts: texts to search.
        name: source of the texts, for error messages.

    Raises:
        CorpusError: there is no text, or no text has a word.
    """
    tokens = bm25s.tokenize(texts, stopwords=STOPWORDS, return_ids=True, show_progress=False)
    if not tokens.ids:
        raise CorpusError(f"{name}: there are no passages.")
    if not tokens.vocab:
        raise CorpusError(f"{name}: there are no words to index.")
    index = bm25s.BM25()
    index.index(tokens, show_progress=False)
    return index


def score_texts(index: bm25s.BM25, query: str) -> NDArray[np.float32] | None:
    """Return the BM25 scores of all texts, shape (texts,); None if no word is in ``index``."""
    [words] = bm25s.tokenize([query], stopwords=STOPWORDS, return_ids=False, show_progress=False)
    known = [word for word in words if word in index.vocab_dict]
    scores: NDArray[np.float32] | None = index.get_scores(known) if known else None
    return scores


def find_best(scores: NDArray[np.float32], top_k: int) -> NDArray[np.intp]:
    """Return the numbers of the ``top_k`` highest positive scores, best first, ties in order.

    Args:
        scores: scores of the texts, shape (texts,).
        top_k: number of scores wanted; fewer are returned if fewer are positive.
    """
    # A million scores need not be sorted: the maxima of `top_k` blocks are `top_k` scores, so a
    # score below all of them is not among the best.
    maxima = scores[: len(scores) // BLOCK * BLOCK].reshape(-1, BLOCK).max(axis=1)
    least = np.partition(maxima, -top_k)[-top_k] if len(maxima) >= top_k else 0
    found = np.flatnonzero(scores >= least if least > 0 else scores > 0)
    return found[np.argsort(-scores[found], kind="stable")[:top_k]]
