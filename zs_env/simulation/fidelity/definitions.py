"""Names and definitions of all figures, which tables, JSON and the documentation share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from zs_env.simulation.fidelity.figures import NOMINAL
from zs_env.simulation.fidelity.kinds import DOCUMENT_KINDS


class Definition(NamedTuple):
    """What a figure is.

    Attributes:
        section: table that it stands in.
        label: name in tables.
        text: definition, with its unit.
        decimals: decimals in tables.
    """

    section: str
    label: str
    text: str
    decimals: int = 3


FORM, USEFUL, NOISY = "Form", "Useful searches", "Noisy searches"
TRUE_NOISE, KINDS = "True noise", "Documents of noisy searches by kind"
WORDING, SEEDS = "Wording of useful documents", "Two seeds"
CLASSIFIER, COST = "Real or simulated", "Cost of a search"

_STATES = "share of useful searches, of queries for {what}, whose documents state what is asked for"
_HOPS = {"final": ("final hop", "a golden answer"), "earlier": ("earlier hops", "another fact")}


def _useful() -> dict[str, Definition]:
    found = {}
    for hop, (label, what) in _HOPS.items():
        text = _STATES.format(what=what)
        found[f"useful_{hop}"] = Definition(USEFUL, f"{label}: states the fact", text)
        for split in ("seen", "unseen"):
            found[f"useful_{hop}_{split}"] = Definition(
                USEFUL, f"{label}, {split} entities", f"{text}, of {split} entities"
            )
        found[f"useful_{hop}_golden"] = Definition(
            USEFUL,
            f"{label}: golden answer",
            f"share of useful searches, of queries for {what} that do not name the golden answer, "
            "in whose documents it occurs" + (": a leak" if hop == "earlier" else ""),
        )
    found["useful_unknown_golden"] = Definition(
        USEFUL,
        "queries for nothing known: golden answer",
        "the same, of queries that ask for nothing that is known: a leak",
    )
    return found


FIGURES: Mapping[str, Definition] = {
    "failed": Definition(
        FORM,
        "failed",
        "share of searches on which the engine gave up, such as those that a model answered "
        "without any document; they count in no other figure",
    ),
    "form": Definition(
        FORM,
        "in the form of the real engine",
        "share of searches, useful and noisy, with as many documents as asked for, each of no "
        "fewer words than the shortest and no more than the longest one of the real engine",
    ),
    "form_number": Definition(
        FORM, "number of documents", "share of searches with as many documents as asked for"
    ),
    "form_words": Definition(
        FORM,
        "words of documents",
        "share of searches each of whose documents has no fewer words than the shortest and no "
        "more than the longest document of the real engine",
    ),
    "titles": Definition(FORM, "documents with a title", "share of documents with a title"),
    **_useful(),
    "leak": Definition(
        NOISY,
        "leak",
        "share of noisy searches, of queries that ask for something known, whose documents state "
        "what is asked for, or hold a golden answer that the query does not name",
    ),
    "leak_seen": Definition(NOISY, "leak, seen entities", "the same, of seen entities"),
    "leak_unseen": Definition(NOISY, "leak, unseen entities", "the same, of unseen entities"),
    "leak_final": Definition(NOISY, "leak, final hop", "the same, of queries for a golden answer"),
    "leak_earlier": Definition(
        NOISY, "leak, earlier hops", "the same, of queries for another fact"
    ),
    "leak_states": Definition(
        NOISY,
        "states the fact",
        "share of noisy searches, of queries that ask for something known, whose documents state "
        "what is asked for",
    ),
    "leak_golden": Definition(
        NOISY,
        "golden answer",
        "share of noisy searches, of queries that ask for something known and do not name the "
        "golden answer, in whose documents it occurs",
    ),
    "leak_unknown": Definition(
        NOISY,
        "leak, queries for nothing known",
        "the same as leak, of queries that ask for nothing that is known: in no other leak",
    ),
    **{
        f"true_noise_{p:g}": Definition(
            TRUE_NOISE,
            f"ordered {p:g}",
            f"true share of noise where a curriculum orders {p:g}: "
            f"{p:g} (1 - leak) + {1 - p:g} miss",
        )
        for p in NOMINAL
    },
    **{
        f"kind_{kind.replace(' ', '_')}": Definition(
            KINDS, kind, f"share of the documents of a noisy search of the kind {kind!r}"
        )
        for kind in DOCUMENT_KINDS
    },
    "words": Definition(WORDING, "words a document", "words of a useful document", 1),
    "words_noisy": Definition(WORDING, "words a noisy document", "words of a noisy document", 1),
    "distinct_words": Definition(
        WORDING, "distinct words of 1,000", "distinct words in a piece of 1,000 words", 0
    ),
    "distinct_pairs": Definition(
        WORDING,
        "distinct word pairs of 1,000",
        "distinct pairs of neighbouring words in a piece of 1,000 words",
        0,
    ),
    "repeated": Definition(
        WORDING,
        "repeated 4-grams",
        "share of the word 4-grams of a search that occurred before in it",
    ),
    "seeds_differ": Definition(
        SEEDS, "queries that differ", "share of queries whose useful documents differ by the seed"
    ),
    "seeds_distance": Definition(
        SEEDS,
        "distance of words",
        "Jaccard distance of the sets of words of both answers: 0 for the same words, 1 for none "
        "in common",
    ),
    "classifier": Definition(
        CLASSIFIER,
        "accuracy of a classifier",
        "share of useful documents that logistic regression on TF-IDF of words and word pairs "
        "takes rightly for real or simulated, on queries that it was not fitted to; 0.5 is chance",
    ),
    "prompt_tokens": Definition(COST, "tokens read", "tokens that the model reads a search", 0),
    "completion_tokens": Definition(
        COST, "tokens written", "tokens that the model writes a search", 0
    ),
    "seconds": Definition(
        COST, "seconds", "seconds by the clock a search, 128 searches asked at a time", 4
    ),
    "price": Definition(COST, "price", "price of a search, in the currency of the prices", 6),
}
"""Definitions by name of the figure, in the order of the tables."""
