"""Length, diversity and repetition of documents, and how far two answers to a query differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from zs_env import keyed_random
from zs_env.documents import Document
from zs_env.simulation.fidelity.asked import AskedSearch
from zs_env.simulation.fidelity.estimate import Figure, mean_figure

PIECE_WORDS = 1_000
"""Words of a piece of text whose distinct words are counted."""

GRAM_WORDS = 4
"""Words of a sequence that may be repeated within a search."""

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Return the words of ``text`` in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def word_count(document: Document) -> int:
    """Return the number of words of the text of a document, separated by blanks."""
    return len(document.text.split())


def repeated_share(documents: Iterable[Document]) -> float | None:
    """Return the share of word 4-grams that occurred before in the same search.

    ``1 - distinct / all`` over the 4-grams of all texts, none of which spans two of them. None if
    no text has four words.
    """
    grams = []
    for document in documents:
        words = words_of(document.text)
        grams += [
            tuple(words[start : start + GRAM_WORDS]) for start in range(len(words) - GRAM_WORDS + 1)
        ]
    return 1 - len(set(grams)) / len(grams) if grams else None


def word_distance(first: Iterable[Document], second: Iterable[Document]) -> float:
    """Return the Jaccard distance of the sets of words of two searches, 0 to 1.

    ``1 - |A ∩ B| / |A ∪ B|``; 0 if neither has words.
    """
    one, other = (
        {word for document in documents for word in words_of(document.text)}
        for documents in (first, second)
    )
    union = one | other
    return 1 - len(one & other) / len(union) if union else 0.0


def distinct_words(searches: Sequence[AskedSearch], seed: int) -> Figure | None:
    """Return the number of distinct words in pieces of 1,000 words; None without such a piece."""
    return _distinct(searches, seed, 1)


def distinct_pairs(searches: Sequence[AskedSearch], seed: int) -> Figure | None:
    """Return the number of distinct pairs of neighbouring words in pieces of 1,000 words."""
    return _distinct(searches, seed, 2)


def _distinct(searches: Sequence[AskedSearch], seed: int, size: int) -> Figure | None:
    """Count distinct sequences of ``size`` words in each piece.

    All texts of the searches, in a random order of the searches, are joined and cut into pieces of
    1,000 words; what is left is not used.
    """
    order = keyed_random.permutation(len(searches), "pieces", seed).tolist()
    words = [
        word
        for number in order
        for document in searches[number].documents
        for word in words_of(document.text)
    ]
    counts = []
    for start in range(0, len(words) - PIECE_WORDS + 1, PIECE_WORDS):
        piece = words[start : start + PIECE_WORDS]
        grams = {tuple(piece[at : at + size]) for at in range(PIECE_WORDS - size + 1)}
        counts.append(float(len(grams)))
    return mean_figure(counts)
