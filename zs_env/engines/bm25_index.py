"""BM25 itself: texts become an index, queries become scores, scores become the best passages."""

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


def index_texts(texts: Iterable[str], name: str) -> bm25s.BM25:
    """The index of ``texts``, which are not kept.

    Args:
        texts: what is searched.
        name: where they come from, for error messages.

    Raises:
        CorpusError: there is no text, or none has a word.
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
    """The BM25 score of every text, shape (texts,), or None if ``index`` knows no word of it."""
    [words] = bm25s.tokenize([query], stopwords=STOPWORDS, return_ids=False, show_progress=False)
    known = [word for word in words if word in index.vocab_dict]
    scores: NDArray[np.float32] | None = index.get_scores(known) if known else None
    return scores


def find_best(scores: NDArray[np.float32], top_k: int) -> NDArray[np.intp]:
    """The numbers of the ``top_k`` highest positive scores, best first, ties in their order.

    A million scores need not be sorted. The maxima of ``top_k`` blocks are ``top_k`` scores, so
    what is less than all of them is not among the best.

    Args:
        scores: shape (texts,).
        top_k: how many are wanted; there are fewer if fewer scores are positive.
    """
    maxima = scores[: len(scores) // BLOCK * BLOCK].reshape(-1, BLOCK).max(axis=1)
    least = np.partition(maxima, -top_k)[-top_k] if len(maxima) >= top_k else 0
    found = np.flatnonzero(scores >= least if least > 0 else scores > 0)
    return found[np.argsort(-scores[found], kind="stable")[:top_k]]
