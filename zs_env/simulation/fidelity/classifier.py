"""How well a classifier tells real documents from simulated ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zs_env import keyed_random
from zs_env.documents import Document
from zs_env.errors import MissingDependencyError, SimulationDataError
from zs_env.simulation.fidelity.estimate import Figure, share_of
from zs_env.world.text import tokenize

FOLDS = 5
LEAST_QUERIES = 2 * FOLDS
"""Queries that the classifier needs."""


def require_classifier() -> tuple[Any, Any]:
    """Return the classes of scikit-learn: of the features, and of the classifier.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingDependencyError.for_extra(
            "The classifier of fidelity", "scikit-learn", "fidelity"
        ) from error
    return TfidfVectorizer, LogisticRegression


def tell_apart(
    real: Sequence[Sequence[Document]],
    simulated: Sequence[Sequence[Document]],
    groups: Sequence[str],
    seed: int = 0,
) -> Figure | None:
    """Return the accuracy of a classifier on documents of queries that it was not fitted to.

    Logistic regression (L2, C = 1) on TF-IDF of words and of pairs of neighbouring words of the
    texts, without titles, in lower case and split as `zs_env.world.text.tokenize` does. Of each
    query as many real documents count as simulated ones, from the first on, so chance is 0.5. All
    queries of one group are in one of five folds; features and weights are those of the other four.

    Args:
        real: real documents of each query.
        simulated: simulated documents of each query.
        groups: group of each query, in whose folds its documents stand.
        seed: seed of the folds.

    Returns:
        The accuracy, mean over groups, with its interval; None with fewer than ten groups.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
        SimulationDataError: the arguments have different lengths.
    """
    if not len(real) == len(simulated) == len(groups):
        raise SimulationDataError("`real`, `simulated` and `groups` must be of one length.")
    names = list(dict.fromkeys(groups))
    if len(names) < LEAST_QUERIES:
        return None
    order = keyed_random.permutation(len(names), "classifier folds", seed).tolist()
    fold_of = {names[number]: place % FOLDS for place, number in enumerate(order)}
    texts: list[list[str]] = []
    labels: list[int] = []
    owners: list[str] = []
    for ours, theirs, group in zip(real, simulated, groups, strict=True):
        count = min(len(ours), len(theirs))
        for label, documents in enumerate((ours, theirs)):
            texts += [words_and_pairs(document.text) for document in documents[:count]]
            labels += [label] * count
        owners += [group] * (2 * count)
    right = [0.0] * len(texts)
    for fold in range(FOLDS):
        fitted = [n for n, owner in enumerate(owners) if fold_of[owner] != fold]
        tested = [n for n, owner in enumerate(owners) if fold_of[owner] == fold]
        if not fitted or not tested:
            return None
        predicted = _predict(
            [texts[n] for n in fitted], [labels[n] for n in fitted], [texts[n] for n in tested]
        )
        for number, label in zip(tested, predicted, strict=True):
            right[number] = float(labels[number] == label)
    return share_of(right, owners)


def words_and_pairs(text: str) -> list[str]:
    """Return the words of ``text`` and its pairs of neighbouring words, in lower case."""
    words = tokenize(text)
    return words + [f"{one} {other}" for one, other in zip(words, words[1:], strict=False)]


def _predict(texts: list[list[str]], labels: list[int], tested: list[list[str]]) -> list[int]:
    vectorizer_class, classifier_class = require_classifier()
    vectorizer = vectorizer_class(analyzer=list)  # texts are split already
    classifier = classifier_class(C=1.0, max_iter=1_000)
    classifier.fit(vectorizer.fit_transform(texts), labels)
    predicted: list[int] = classifier.predict(vectorizer.transform(tested)).tolist()
    return predicted
