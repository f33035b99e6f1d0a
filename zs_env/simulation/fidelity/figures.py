"""Figures of a simulator, from lists of asked searches: pure functions.

`FIGURES` says what each is. All lists are in the order of the queries, with None for a search that
failed: it counts in no figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from zs_env.evaluation.summary import Prices
from zs_env.simulation.fidelity import wording
from zs_env.simulation.fidelity.asked import AskedSearch
from zs_env.simulation.fidelity.classifier import tell_apart
from zs_env.simulation.fidelity.estimate import Figure, mean_figure, mixed, share_of
from zs_env.simulation.fidelity.findings import Finding, Findings
from zs_env.simulation.fidelity.kinds import DOCUMENT_KINDS, kind_of
from zs_env.simulation.fidelity.queries import HeldOutQuery
from zs_env.simulation.pair import EARLIER, FINAL, UNKNOWN
from zs_env.world.graph import FactGraph

NOMINAL = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of noisy searches that a curriculum orders."""

Searches = Sequence[AskedSearch | None]
Figures = Mapping[str, Figure | None]


@dataclass(frozen=True)
class Column:
    """Searches of what is measured, in the order of the queries. Lists may be empty.

    Attributes:
        name: name in tables.
        useful: searches for useful documents, or those of the real engine.
        noisy: searches for noisy documents.
        again: the same as ``useful`` with another seed.
        found_useful: what is true of ``useful``.
        found_noisy: what is true of ``noisy``.
    """

    name: str
    useful: Searches
    noisy: Searches = ()
    again: Searches = ()
    found_useful: Findings = field(default_factory=list)
    found_noisy: Findings = field(default_factory=list)


class Setting(NamedTuple):
    """What figures are computed with.

    Attributes:
        queries: queries.
        hops: hop of each query, see `zs_env.simulation.fidelity.findings.hops_of`.
        top_k: documents that a search was asked for.
        words: fewest and most words of a document in the form of the real engine, see `words_of`.
        seed: seed of random orders.
        prices: prices; None for none.
    """

    queries: Sequence[HeldOutQuery]
    hops: Sequence[str]
    top_k: int = 5
    words: tuple[int, int] = (1, 120)
    seed: int = 0
    prices: Prices | None = None


def failed_figures(searches: Searches) -> Figures:
    """Return the share of searches that failed, each counted by itself."""
    failed = [float(search is None) for search in searches]
    return {"failed": share_of(failed, range(len(failed)))}


def words_of(real: Searches) -> tuple[int, int]:
    """Return the words of the shortest and of the longest document that the real engine found.

    The shortest counts as one word at least. (1, 1) without documents.
    """
    counts = [
        wording.word_count(document)
        for search in real
        if search is not None
        for document in search.documents
    ]
    return max(min(counts, default=1), 1), max(max(counts, default=1), 1)


def form_figures(column: Column, setting: Setting) -> Figures:
    """Return how many searches are in the form of the real engine, useful and noisy together."""
    searches = [search for search in (*column.useful, *column.noisy) if search is not None]
    number = [len(search.documents) == setting.top_k for search in searches]
    least, most = setting.words
    length = [
        all(least <= wording.word_count(document) <= most for document in search.documents)
        for search in searches
    ]
    titled = [
        (search, sum(bool(document.title) for document in search.documents) / len(search.documents))
        for search in searches
        if search.documents
    ]
    return {
        "form": _share(searches, [a and b for a, b in zip(number, length, strict=True)]),
        "form_number": _share(searches, number),
        "form_words": _share(searches, length),
        "titles": _share([search for search, _ in titled], [share for _, share in titled]),
    }


def useful_figures(column: Column, setting: Setting) -> Figures:
    """Return how many useful searches state what was asked for, and hold a golden answer."""
    figures: dict[str, Figure | None] = {}
    found = list(_found(column.useful, column.found_useful, setting.hops))
    for hop in (FINAL, EARLIER):
        for name, unseen in _SPLITS.items():
            some = [each for each in found if each.is_of(hop, unseen)]
            figures[f"useful_{hop}{name}"] = _share_that(some, lambda finding: finding.states)
        some = [each for each in found if each.hop == hop]
        figures[f"useful_{hop}_golden"] = _share_that(some, lambda finding: finding.golden)
    some = [each for each in found if each.hop == UNKNOWN]
    figures["useful_unknown_golden"] = _share_that(some, lambda finding: finding.golden)
    return figures


def noisy_figures(column: Column, setting: Setting) -> Figures:
    """Return how many noisy searches give away what they should not.

    Those of queries that ask for nothing known count apart.
    """
    figures: dict[str, Figure | None] = {}
    found = list(_found(column.noisy, column.found_noisy, setting.hops))
    unknown = [each for each in found if each.hop == UNKNOWN]
    found = [each for each in found if each.hop != UNKNOWN]
    for name, unseen in _SPLITS.items():
        some = [each for each in found if each.is_of(None, unseen)]
        figures[f"leak{name}"] = _share_that(some, lambda finding: finding.leaks)
    for hop in (FINAL, EARLIER):
        some = [each for each in found if each.hop == hop]
        figures[f"leak_{hop}"] = _share_that(some, lambda finding: finding.leaks)
    figures["leak_states"] = _share_that(found, lambda finding: finding.states)
    figures["leak_golden"] = _share_that(found, lambda finding: finding.golden)
    figures["leak_unknown"] = _share_that(unknown, lambda finding: finding.leaks)
    return figures


def true_noise(column: Column, setting: Setting, nominal: float) -> Figure | None:
    """Return the true share of noise where a curriculum orders ``nominal``; None if unknown.

    ``p (1 - leak) + (1 - p) miss``, over the queries that ask for something known and of which
    neither search failed: ``leak`` is the share of noisy searches that leak, and ``miss`` that of
    useful ones that do not state what was asked for.
    """
    kept, miss, true = [], [], []
    rows = zip(column.useful, column.found_useful, column.found_noisy, setting.hops, strict=False)
    for search, useful, noisy, hop in rows:
        if hop == UNKNOWN or search is None or useful is None or noisy is None:
            continue
        if useful.states is None or noisy.leaks is None:
            continue
        kept.append(search)
        miss.append(not useful.states)
        true.append(not noisy.leaks)
    ordered_noisy, ordered_useful = _share(kept, true), _share(kept, miss)
    if ordered_noisy is None or ordered_useful is None:
        return None
    return mixed(ordered_noisy, ordered_useful, nominal)


def noise_figures(column: Column, setting: Setting) -> Figures:
    """Return the true share of noise for each of `NOMINAL`."""
    return {f"true_noise_{p:g}": true_noise(column, setting, p) for p in NOMINAL}


def kind_figures(searches: Searches, hops: Sequence[str], world: FactGraph) -> Figures:
    """Return the share of documents of each kind, over searches that ask for a known fact.

    Each search with documents counts once.

    Args:
        searches: searches.
        hops: hop of each.
        world: world that they are about.
    """
    some = [
        search
        for search, hop in zip(searches, hops, strict=True)
        if search is not None and search.documents and hop != UNKNOWN
    ]
    kinds = [
        [kind_of(world, search.query.query, document.text) for document in search.documents]
        for search in some
    ]
    return {
        f"kind_{kind.replace(' ', '_')}": _share(
            some, [own.count(kind) / len(own) for own in kinds]
        )
        for kind in DOCUMENT_KINDS
    }


def wording_figures(column: Column, setting: Setting) -> Figures:
    """Return length, diversity and repetition of useful documents, and the length of noisy ones."""
    useful = [search for search in column.useful if search is not None and search.documents]
    noisy = [search for search in column.noisy if search is not None and search.documents]
    repeated = [(search, wording.repeated_share(search.documents)) for search in useful]
    counted = [(search, share) for search, share in repeated if share is not None]
    return {
        "words": _words(useful),
        "words_noisy": _words(noisy),
        "distinct_words": wording.distinct_words(useful, setting.seed),
        "distinct_pairs": wording.distinct_pairs(useful, setting.seed),
        "repeated": _share([search for search, _ in counted], [share for _, share in counted]),
    }


def seed_figures(column: Column) -> Figures:
    """Return how far useful documents of one query with two seeds differ."""
    both = [
        (first, second)
        for first, second in zip(column.useful, column.again, strict=False)
        if first is not None and second is not None
    ]
    firsts = [first for first, _ in both]
    return {
        "seeds_differ": _share(firsts, [a.documents != b.documents for a, b in both]),
        "seeds_distance": _share(
            firsts, [wording.word_distance(a.documents, b.documents) for a, b in both]
        ),
    }


def classifier_figures(real: Column, column: Column, setting: Setting) -> Figures:
    """Return the accuracy of a classifier on real and simulated useful documents.

    Only queries count whose real documents are useful, or of which that is not known.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    rows = [
        (ours, theirs)
        for ours, theirs, found in zip(real.useful, column.useful, real.found_useful, strict=True)
        if ours is not None
        and theirs is not None
        and found is not None
        and found.states is not False
    ]
    accuracy = tell_apart(
        [ours.documents for ours, _ in rows],
        [theirs.documents for _, theirs in rows],
        [ours.query.query.lower() for ours, _ in rows],
        setting.seed,
    )
    return {"classifier": accuracy}


_SPLITS: Mapping[str, bool | None] = {"": None, "_seen": False, "_unseen": True}


class _Found(NamedTuple):
    """A search that did not fail, what is true of it, and its hop."""

    search: AskedSearch
    finding: Finding
    hop: str

    def is_of(self, hop: str | None, unseen: bool | None) -> bool:
        """Return whether it is of a hop and of seen or unseen entities; None stands for any."""
        return hop in (None, self.hop) and unseen in (None, self.search.query.unseen)


def _found(searches: Searches, findings: Findings, hops: Sequence[str]) -> Iterable[_Found]:
    for search, finding, hop in zip(searches, findings, hops, strict=False):
        if search is not None and finding is not None:
            yield _Found(search, finding, hop)


def _share_that(
    found: Sequence[_Found], value_of: Callable[[Finding], bool | None]
) -> Figure | None:
    known = [(each.search, value_of(each.finding)) for each in found]
    kept = [(search, value) for search, value in known if value is not None]
    return _share([search for search, _ in kept], [value for _, value in kept])


def _share(searches: Sequence[AskedSearch], values: Sequence[float]) -> Figure | None:
    return share_of([float(value) for value in values], _questions(searches))


def _words(searches: Sequence[AskedSearch]) -> Figure | None:
    means = [
        sum(map(wording.word_count, search.documents)) / len(search.documents)
        for search in searches
    ]
    return mean_figure(means, _questions(searches))


def _questions(searches: Sequence[AskedSearch]) -> list[str]:
    return [search.query.question_id or search.query.question for search in searches]
