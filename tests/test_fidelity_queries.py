"""Held-out queries: where they come from, and which are asked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.fidelity_data import collected, world_queries
from zs_env.errors import SimulationDataError
from zs_env.simulation.fidelity.asked import AGAIN, BLIND_NOISY, DEEP, NOISY, USEFUL, Asking
from zs_env.simulation.fidelity.queries import read_queries
from zs_env.simulation.pair import PAGE, Pair
from zs_env.simulation.searches import write_searches

CARD = {"sources": {"worlds": [[0, "small"]], "datasets": {"world,split=train": 3}}}


def pair(label, query, unseen=False, **values):
    prompt = "" if label == PAGE else f"{label} {query}"
    fields = {"hop": "final", "origin": "engine", "golden_answers": ("Lima",), "template": "t:1"}
    return Pair(prompt, "Doc 1: text", label, query=query, question="Q?", question_id=f"id {query}",
                unseen=unseen, **{**fields, **values})  # fmt: skip


def write_held_out(folder, pairs, card=CARD):
    """A folder as `zs-env simulation pairs` leaves it, for what is read of it."""
    import hashlib

    folder.mkdir(exist_ok=True)
    content = "".join(json.dumps(each.as_json()) + "\n" for each in pairs).encode()
    (folder / "held_out.jsonl").write_bytes(content)
    files = {"held_out.jsonl": hashlib.sha256(content).hexdigest()}
    (folder / "card.json").write_text(json.dumps({**card, "files": files}))
    return folder


PAIRS = [
    pair("useful", "capital of Peru"),
    pair("noisy", "capital of Peru"),
    pair("noisy", "Capital of Peru"),
    pair("useful", "capital of Chile", unseen=True),
    pair(PAGE, "Lima", template=""),
]


def test_held_out_pairs_give_each_query_once(tmp_path):
    found = read_queries(write_held_out(tmp_path / "pairs", PAIRS))
    assert {(q.query, q.unseen) for q in found.queries} == {
        ("capital of Peru", False), ("capital of Chile", True),
    }  # fmt: skip
    assert (found.world, found.total) == ((0, "small"), 2)


def test_file_of_pairs_is_read_with_the_card_beside_it(tmp_path):
    folder = write_held_out(tmp_path / "pairs", PAIRS)
    assert read_queries(folder / "held_out.jsonl") == read_queries(folder)
    (folder / "card.json").unlink()
    assert read_queries(folder / "held_out.jsonl").world is None


def test_pairs_of_other_data_are_about_no_world(tmp_path):
    card = {"sources": {"worlds": [[0, "small"]], "datasets": {"world": 1, "nq": 1}}}
    assert read_queries(write_held_out(tmp_path / "pairs", PAIRS, card)).world is None


def test_searches_are_a_source_and_do_not_say_what_is_unseen(tmp_path):
    queries = world_queries(5)
    write_searches(tmp_path / "searches.jsonl", collected(queries))
    found = read_queries(tmp_path)
    assert {q.query for q in found.queries} == {q.query for q in queries.queries}
    assert {q.unseen for q in found.queries} == {None}
    assert found == read_queries(tmp_path / "searches.jsonl")


def test_choice_follows_from_the_seed(tmp_path):
    write_searches(tmp_path / "searches.jsonl", collected(world_queries(50)))
    first, other = (read_queries(tmp_path, 10, seed) for seed in (0, 1))
    assert len(first.queries) == 10 and first.total == 50
    assert first == read_queries(tmp_path, 10, 0)
    assert first != other


def test_queries_of_two_worlds_are_refused(tmp_path):
    one, *others = collected(world_queries(3))
    write_searches(tmp_path / "searches.jsonl", [replace(one, world=(1, "small")), *others])
    with pytest.raises(SimulationDataError, match="2 worlds"):
        read_queries(tmp_path)


def test_source_without_golden_answers_or_without_files_is_refused(tmp_path):
    searches = [replace(each, golden_answers=("",)) for each in collected(world_queries(2))]
    write_searches(tmp_path / "searches.jsonl", searches)
    with pytest.raises(SimulationDataError, match="no queries"):
        read_queries(tmp_path)
    with pytest.raises(SimulationDataError, match="no such file"):
        read_queries(tmp_path / "nothing.jsonl")


def test_requests_differ_in_what_their_kind_says():
    [query] = world_queries(1).queries
    asking = Asking(top_k=3, document_words=20, depth=7)
    useful = asking.request(query, USEFUL)
    assert useful[:4] == (query.query, query.question, query.golden_answers, False)
    assert (useful.top_k, useful.document_words) == (3, 20)
    assert asking.request(query, NOISY) == useful._replace(noisy=True)
    assert asking.request(query, BLIND_NOISY) == useful._replace(noisy=True, golden_answers=())
    assert asking.request(query, DEEP) == useful._replace(top_k=7)
    again = asking.request(query, AGAIN)
    assert again.key != useful.key and again._replace(key=useful.key) == useful
    assert Asking(top_k=3, document_words=20, depth=7, seed=1).request(query, USEFUL) != useful


@pytest.mark.parametrize(
    "values", [{"top_k": 0}, {"depth": 4}, {"document_words": 0}, {"seed": -1}]
)
def test_asking_out_of_range_is_refused(values):
    with pytest.raises(ValueError, match=f"`?{next(iter(values))}`?"):
        Asking(**values)
