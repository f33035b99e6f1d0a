"""What an agent makes of noise: whether it is fooled, and what it does after a noisy search.

These figures move before scores do: an agent that learns to ask again under noise shows it here
first. They are read off texts alone, so they are the same for every engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from zs_env.evaluation.record import Record, RecordSearch
from zs_env.rewards import golden_answer_in, normalize_answer, substring_match

Counts = dict[str, float]
"""Counts of one episode by name.

``fooled``; for each kind of search those of `FOLLOWED`; ``noisy_found``, the noisy searches with
documents of which `leaks` can tell, and ``noisy_leaked``, those of them that leak.
"""

KINDS = ("noisy", "useful")
FOLLOWED = ("followed", "searched_on", "asked_again")
"""Searches that a turn follows; those whose next turn searches, and that for the same subject."""

_WORD = re.compile(r"[^\W_]+")
_WITHIN_SENTENCE = re.compile(r"(?<=[\w,;] )[^\W_]+")


def behaviour_of(record: Record) -> Counts:
    """Return the counts of a record."""
    searches = record.searches
    return count_behaviour(
        record.question, record.golden_answers, record.answer, searches, record.turns
    )


def count_behaviour(
    question: str,
    golden_answers: Sequence[str],
    answer: str | None,
    searches: Sequence[RecordSearch],
    num_turns: int,
) -> Counts:
    """Return the counts of one episode.

    Args:
        question: text of the question.
        golden_answers: its golden answers.
        answer: final answer; None if there is none.
        searches: all searches in order, with their documents as the agent read them.
        num_turns: turns that the agent took.
    """
    counts = dict.fromkeys((f"{kind}_{what}" for kind in KINDS for what in FOLLOWED), 0.0)
    names = _names(question, searches) if len(searches) > 1 else frozenset()
    by_turn = {search.turn: search for search in searches}
    for search in searches:
        if search.failure is not None or search.turn + 1 >= num_turns:
            continue
        kind = KINDS[not search.noisy]
        counts[f"{kind}_followed"] += 1.0
        following = by_turn.get(search.turn + 1)
        if following is not None:
            counts[f"{kind}_searched_on"] += 1.0
            counts[f"{kind}_asked_again"] += asks_again(search.query, following.query, names)
    noisy = [search for search in searches if search.noisy and search.documents]
    leaky = [leaks(search, golden_answers) for search in noisy]
    return {
        "fooled": float(was_fooled(question, golden_answers, answer, searches)),
        "noisy_found": float(len(leaky) - leaky.count(None)),
        "noisy_leaked": float(leaky.count(True)),
        **counts,
    }


def behaviour_shares(episodes: Iterable[Counts]) -> dict[str, float]:
    """Return the shares that follow from the counts of some episodes.

    Returns:
        ``fooled_share`` of the episodes; ``noisy_searched_on_share`` and
        ``noisy_asked_again_share`` of the noisy searches that a turn follows, and the same of
        useful ones; ``noisy_leak_share`` of the noisy searches that found documents, but for those
        of which `leaks` cannot tell. A share of no search at all is left out.
    """
    played = list(episodes)

    def total(name: str) -> float:
        return sum(counts[name] for counts in played)

    shares = {"fooled_share": total("fooled") / max(len(played), 1)}
    for kind in KINDS:
        if followed := total(f"{kind}_followed"):
            for what in FOLLOWED[1:]:
                shares[f"{kind}_{what}_share"] = total(f"{kind}_{what}") / followed
    if found := total("noisy_found"):
        shares["noisy_leak_share"] = total("noisy_leaked") / found
    return shares


def leaks(search: RecordSearch, golden_answers: Sequence[str]) -> bool | None:
    """Return whether a document of ``search`` holds a golden answer, as whole words in order.

    None if that would say nothing, as for yes and no (`zs_env.rewards.golden_answer_in`).

    Noise that does is none: it gives the answer away. It need not state it, and noise about an
    earlier hop can state what was asked without a golden answer.
    """
    texts = (f"{title} {text}" for title, text in search.documents)
    return golden_answer_in(texts, golden_answers, search.query)


def was_fooled(
    question: str,
    golden_answers: Sequence[str],
    answer: str | None,
    searches: Sequence[RecordSearch],
) -> bool:
    """Return whether an episode ended in a false answer that noise alone can have suggested.

    The answer holds no golden answer; a document of a noisy search holds the answer, as whole
    words in order; and neither the question nor a document of a useful search does. Not recognised:
    an answer with words around it that no document has, and the true answer about an entity that
    noise put in the place of the right one.
    """
    if answer is None or not normalize_answer(answer):
        return False
    if substring_match(answer, golden_answers):
        return False
    told = [text for search in searches if search.noisy for text in _texts(search)]
    known = [text for search in searches if not search.noisy for text in _texts(search)]
    return any(_holds(text, answer) for text in told) and not any(
        _holds(text, answer) for text in (question, *known)
    )


def asks_again(query: str, following: str, names: frozenset[str]) -> bool:
    """Return whether ``following`` asks about the subject of ``query`` again.

    It does if it has all words of ``query`` that are in ``names``, or all its words if none is.
    Which of two facts of one subject is asked for cannot be told from words alone.

    Args:
        query: a query.
        following: the next query.
        names: words of names, in lower case.
    """
    words = _words(query)
    return bool(words) and (words & names or words) <= _words(following)


def _names(question: str, searches: Sequence[RecordSearch]) -> frozenset[str]:
    """Return the words of names: with a capital in a title, or within a sentence."""
    documents = [document for search in searches for document in search.documents]
    found = [word for title, _ in documents for word in _WORD.findall(title)]
    for text in (question, *(text for _, text in documents)):
        found += _WITHIN_SENTENCE.findall(text)
    return frozenset(word.lower() for word in found if word[0].isupper())


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _texts(search: RecordSearch) -> list[str]:
    return [part for document in search.documents for part in document]


def _holds(text: str, answer: str) -> bool:
    return f" {normalize_answer(answer)} " in f" {normalize_answer(text)} "
