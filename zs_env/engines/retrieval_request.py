"""Parsing and checking of requests to the retrieval server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from zs_env.checks import as_integer, as_share
from zs_env.documents import SearchRequest, clean_text
from zs_env.keyed_random import derive_key, uniform

MAX_QUERIES = 10_000
MAX_TOP_K = 1000
MAX_DOCUMENTS = 30_000
"""Most documents of a request: number of queries times top_k."""

MAX_DOCUMENT_WORDS = 1000

MAX_QUERY_CHARS = 4096
"""Characters of a query that are used; the rest of a longer one is ignored."""

LISTS = ("questions", "golden_answers", "noisy", "keys", "turns")
"""Optional fields of a request with a value for each query."""


@dataclass(frozen=True)
class Defaults:
    """What a request to the retrieval server leaves open.

    Raises:
        ValueError: a value is out of its range.
        TypeError: a value has the wrong type.
    """

    top_k: int = 3
    """Documents for each query."""
    document_words: int = 30
    """Words of a document, approximately, for engines that write them."""
    noise_probability: float = 0.0
    """Probability that a simulated engine is told to write noisy documents."""
    seed: int = 0
    """Seed of the keys of queries that come without one."""

    def __post_init__(self) -> None:
        """Check the values."""
        check_top_k(self.top_k)
        _check_words(self.document_words)
        as_share("noise_probability", self.noise_probability)
        as_integer("seed", self.seed, 0)


class RetrievalRequest(NamedTuple):
    """Checked request.

    Attributes:
        searches: one search for each query, each query cut at `MAX_QUERY_CHARS` characters and
            cleaned; it may be empty.
        return_scores: whether the answer gives each document's score.
        return_details: whether the answer gives noise labels and failures.
    """

    searches: list[SearchRequest]
    return_scores: bool
    return_details: bool

    @classmethod
    def parse(cls, body: bytes, defaults: Defaults, *, honours_noise: bool) -> RetrievalRequest:
        """Parse the body of a request.

        Args:
            body: body of the request, JSON.
            defaults: values of what is missing or null.
            honours_noise: whether the engine can write noisy documents; if not, no search is noisy.

        Raises:
            ValueError: the body is malformed or asks for too much; the message is for the client.
        """
        fields = _parse_object(body)
        queries = _check_queries(fields)
        top_k = check_top_k(_given(fields, "topk", defaults.top_k))
        num_documents = len(queries) * top_k
        if num_documents > MAX_DOCUMENTS:
            _refuse("`queries` by `topk`", f"at most {MAX_DOCUMENTS} documents", num_documents)
        words = _check_words(_given(fields, "document_words", defaults.document_words))
        lists = _check_lists(fields, len(queries))
        noise = _noise(fields, lists, defaults) if honours_noise else _never
        searches = []
        for i, query in enumerate(queries):
            given = {name: values[i] for name, values in lists.items()}
            question = given.get("questions", query)
            turn = given.get("turns", 0)
            key = given.get("keys", derive_key("retrieval", defaults.seed, question, query))
            golden_answers = tuple(given.get("golden_answers", ()))
            noisy = noise(i, key, turn)
            searches.append(
                SearchRequest(query, question, golden_answers, noisy, turn, top_k, words, key)
            )
        return cls(
            searches,
            _check_bool("return_scores", _given(fields, "return_scores", False)),
            _check_bool("return_details", _given(fields, "return_details", False)),
        )


def check_top_k(top_k: object) -> int:
    """Return ``top_k`` if it can be served.

    Raises:
        ValueError: it is not an integer, or is out of range.
    """
    if type(top_k) is not int or not 1 <= top_k <= MAX_TOP_K:
        _refuse("`topk`", f"an integer from 1 to {MAX_TOP_K}, or null", top_k)
    return top_k


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body must be JSON: {error}.") from None
    if not isinstance(fields, dict):
        _refuse("the body", "a JSON object", fields)
    return fields


def _given(fields: Mapping[str, Any], name: str, default: Any) -> Any:
    """Return a field, or ``default`` if it is missing or null."""
    value = fields.get(name)
    return default if value is None else value


def _check_queries(fields: Mapping[str, Any]) -> list[str]:
    queries, query = fields.get("queries"), fields.get("query")
    if queries is None and isinstance(query, str):
        queries = [query]
    if not (isinstance(queries, list) and all(isinstance(query, str) for query in queries)):
        _refuse("`queries`", "a list of strings", queries)
    if len(queries) > MAX_QUERIES:
        _refuse("the number of `queries`", f"at most {MAX_QUERIES}", len(queries))
    return [clean_text(query[:MAX_QUERY_CHARS]) for query in queries]


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_key(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**64


def _is_turn(value: object) -> bool:
    return type(value) is int and value >= 0


_ENTRIES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "questions": ("a list of strings", _is_text),
    "golden_answers": ("a list of lists of strings", _are_texts),
    "noisy": ("a list of true or false", _is_bool),
    "keys": ("a list of integers in [0, 2**64)", _is_key),
    "turns": ("a list of integers of at least 0", _is_turn),
}
"""What each of `LISTS` must be."""


def _check_lists(fields: Mapping[str, Any], count: int) -> dict[str, list[Any]]:
    """Return those of `LISTS` that are given, by name, each with ``count`` values."""
    lists = {name: fields[name] for name in LISTS if fields.get(name) is not None}
    for name, values in lists.items():
        expected, is_valid = _ENTRIES[name]
        if not (isinstance(values, list) and all(map(is_valid, values))):
            _refuse(f"`{name}`", expected, values)
        if len(values) != count:
            _refuse(f"`{name}`", f"as many as the {count} `queries`", len(values))
    return lists


Noise = Callable[[int, int, int], bool]
"""Function from a query's number, key and turn to its noise label."""


def _never(number: int, key: int, turn: int) -> bool:
    return False


def _noise(fields: Mapping[str, Any], lists: Mapping[str, list[Any]], defaults: Defaults) -> Noise:
    given = fields.get("noise_probability")
    labels = lists.get("noisy")
    if labels is not None:
        if given is not None:
            raise ValueError("`noisy` and `noise_probability` exclude each other: leave out one.")
        return lambda number, key, turn: bool(labels[number])
    share = defaults.noise_probability if given is None else given
    if type(share) not in (int, float) or not 0.0 <= share <= 1.0:
        _refuse("`noise_probability`", "a number in [0, 1], or null", given)
    return lambda number, key, turn: share > 0.0 and uniform("noise", key, turn) < share


def _check_words(words: object) -> int:
    if type(words) is not int or not 1 <= words <= MAX_DOCUMENT_WORDS:
        _refuse("`document_words`", f"an integer from 1 to {MAX_DOCUMENT_WORDS}, or null", words)
    return words


def _check_bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        _refuse(f"`{name}`", "true or false", value)
    return value


def _refuse(what: str, expected: str, got: object) -> NoReturn:
    raise ValueError(f"{what} must be {expected}, got {json.dumps(got)[:80]}.")
