"""Collecting searches: the explorer, the folder, its lines, and what is left out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from tests.evaluation_records import make_failure, make_record, make_search
from tests.simulation_data import DATA, ROOT, WORLD, environment, one_search, world_searches
from zs_env import SearchEngine, SearchFailure
from zs_env.commands.main import main
from zs_env.engines.bm25 import load as load_bm25
from zs_env.errors import RecordError, SimulationDataError
from zs_env.evaluation.methods.scripted import Exploring
from zs_env.evaluation.options import PlayOptions
from zs_env.evaluation.run import Plan, evaluate
from zs_env.evaluation.store import RECORDS, read_lines, read_records, write_run
from zs_env.keyed_random import Stream
from zs_env.simulation.collect import collect, training_questions
from zs_env.simulation.searches import (
    FAILED,
    JUDGED,
    NOISE,
    NOTHING_FOUND,
    SEARCHES,
    CollectedSearch,
    read_searches,
    searches_of,
    write_searches,
)
from zs_env.world.explorer import SHARES, draw_query
from zs_env.world.plans import Description, Lookup
from zs_env.world.relations import BY_NAME

HERE = "tests.test_simulation_collect"
LOOKUP = Lookup(BY_NAME["birthplace"], WORLD.find("Wanda Calder"))


class Killer(Exploring):
    """Kills the program in the tenth question that it plays."""

    played = 0

    async def play(self, play):
        Killer.played += 1
        if Killer.played == 10 and os.environ.get("KILL"):
            os.kill(os.getpid(), signal.SIGKILL)
        await super().play(play)


class Dies(SearchEngine):
    """BM25 that gives up for good after some searches; it is well if ``ENGINE_IS_WELL`` is set."""

    honours_noise = False
    searches = 0

    def __init__(self):
        self._engine = load_bm25()

    async def asearch(self, request):
        Dies.searches += 1
        if Dies.searches > 20 and not os.environ.get("ENGINE_IS_WELL"):
            raise SearchFailure("connection refused")
        return self._engine.search([request])[0]

    def identity(self):
        return {}


def lookups(question):
    return draw_query(WORLD, LOOKUP, "Q?", Stream(question))


def test_explorer_words_queries_by_its_shares():
    drawn = [lookups(number) for number in range(2000)]
    right = set(LOOKUP.wordings(WORLD))
    counts = Counter(
        "right"
        if query in right
        else "whole question"
        if query == "Q?"
        else "bare name"
        if query == "Wanda Calder"
        else "half a name"
        if query in ("Wanda", "Calder")
        else "wrong relation"
        if "Wanda Calder" in query
        else "namesake"
        for query in drawn
    )
    for kind, share in SHARES.items():
        assert counts[kind] / 20 == pytest.approx(share, abs=3.0), kind
    assert len(right & set(drawn)) == len(right), "every wording comes"
    assert [lookups(number) for number in range(50)] == drawn[:50]


def test_explorer_words_searches_for_persons_who_are_described():
    relation = next(r for r in WORLD.relations if r.subject == "person" and r.object == "city")
    with_descriptions = load_hard()
    need = Description(
        relation,
        "Calder",
        with_descriptions.find("Rosmere Cedrun"),
        with_descriptions.blueprint.descriptions[relation.name][0],
    )
    drawn = {draw_query(with_descriptions, need, "Q?", Stream(number)) for number in range(300)}
    assert drawn >= {"Q?", "Calder", *need.wordings(with_descriptions)}


def load_hard():
    from zs_env.world import load_world

    return load_world(0, "hard")


def test_explorer_plays_the_same_in_any_company_and_another_repeat_otherwise():
    def queries(**values):
        plan = Plan(method="explorer", questions=["world,split=train"], engines=["bm25"], **values)
        return {
            (record.question_id, record.repeat): [search.query for search in record.searches]
            for record in evaluate(plan, show_progress=False)
        }

    few, more = queries(num_questions=5), queries(num_questions=20, repeats=2)
    assert few.items() <= more.items()
    assert sum(more[key] != more[key[0], 1] for key in more if key[1] == 0) > 10


def test_collected_folder_is_that_of_an_evaluation_and_holds_searches(tmp_path, capsys):
    arguments = ["--method", "explorer", "--num-questions", "30", "--quiet", "--folder"]
    main(["simulation", "collect", *arguments, str(tmp_path / "a")])
    assert "searches of 30 episodes\n" in capsys.readouterr().out
    questions = ["--questions", "world,split=train", "--engine", "bm25"]
    main(["evaluate", *arguments, str(tmp_path / "b"), *questions])
    ours, theirs = read_records(tmp_path / "a"), read_records(tmp_path / "b")
    assert [replace(r, seconds=0) for r in ours] == [replace(r, seconds=0) for r in theirs]
    found = read_searches(tmp_path / "a" / SEARCHES).searches
    assert found == read_searches(tmp_path / "a").searches == read_searches(tmp_path / "b").searches
    assert len(found) == sum(len(record.searches) for record in ours)
    line = json.loads((tmp_path / "a" / SEARCHES).read_text().splitlines()[0])
    assert line["question_id"].startswith("world-small-0-train-") and line["engine"] == "bm25"
    assert line["world"] == [0, "small"] and set(line["documents"][0]) == {"title", "text"}
    assert line["scores"].keys() >= {"f1"} and line["termination"] == "answered"
    assert line["metadata"]["hops"] >= 1 and line["turn"] == 0 and line["golden_answers"]


@pytest.mark.parametrize(
    "spec",
    [
        "world,split=test",
        {"name": "world", "split": "test"},
        "hotpotqa,split=dev",
        "popqa",  # it has no others
        "hub,id=a/b",
    ],
)
def test_test_questions_are_not_collected(spec, tmp_path):
    with pytest.raises(ValueError, match="must be training questions"):
        collect(Plan(method="explorer", questions=[spec]), tmp_path)
    with pytest.raises(ValueError, match="`noise` must be 0 to collect, got 0.5"):
        collect(Plan(method="explorer", options=PlayOptions(noise=0.5)), tmp_path)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("world", "world,split=train"),
        ("world,kinds=1-hop", "world,kinds=1-hop,split=train"),
        ("world,split=train", "world,split=train"),
        ({"name": "world", "sample": 3}, {"name": "world", "sample": 3, "split": "train"}),
        ("hotpotqa,sample=5", "hotpotqa,sample=5,split=train"),
        ("nq,split=dev", "nq,split=dev"),
        ("zerosearch-train,sample=5", "zerosearch-train,sample=5,split=train"),
        ("hub,id=a/b,split=train", "hub,id=a/b,split=train"),
        ("questions.jsonl", "questions.jsonl"),
    ],
)
def test_questions_with_splits_are_those_of_training(spec, expected):
    assert training_questions(spec) == expected


def test_searches_without_documents_are_left_out_and_counted():
    record = make_record(
        "a",
        searches=(
            make_search("x"),
            make_search(),
            make_search(failure="HTTP 500"),
            make_search("y", noisy=True),
        ),
    )
    found = searches_of([record, make_failure("b", searches=(make_search("z"),))])
    assert [search.documents[0].text for search in found.searches] == ["x", "z"]
    assert found.left_out == {NOTHING_FOUND: 1, FAILED: 1, NOISE: 1} and found.episodes == 2


def test_search_without_any_document_is_an_error_that_says_why(tmp_path):
    write_run(tmp_path, {}, [make_record("a", searches=(make_search(), make_search()))])
    with pytest.raises(SimulationDataError, match="holds no searches: 2 no documents"):
        read_searches(tmp_path)
    with pytest.raises(SimulationDataError, match="it has neither records.jsonl"):
        read_searches(tmp_path / "..")


def test_verdicts_of_a_folder_come_with_its_searches(tmp_path):
    record = make_record("a", searches=(make_search("x"), make_search("y")))
    write_run(tmp_path, {}, [record])
    first, _ = searches_of([record]).searches
    write_searches(tmp_path / JUDGED, [first.judged({"answer": True})])
    assert [dict(s.verdicts) for s in read_searches(tmp_path).searches] == [{"answer": True}, {}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": None}, "`query` must be a text, got None"),
        ({"golden_answers": "Lima"}, "`golden_answers` must be a list"),
        ({"golden_answers": [1]}, "expected a text, got 1"),
        ({"turn": True}, "`turn` must be an integer"),
        ({"documents": ["x"]}, "TypeError"),
        ({"documents": [{"title": "x"}]}, "KeyError: 'text'"),
        ({"verdicts": {"llm": "useful"}}, "a verdict must be true or false"),
        ({"world": [0]}, "IndexError"),
    ],
)
def test_broken_line_is_named(change, message, tmp_path):
    path = tmp_path / "s.jsonl"
    good = world_searches()[0].as_json()
    path.write_text(f"{json.dumps(good)}\n\n{json.dumps({**good, 'turn': 9, **change})}\n")
    with pytest.raises(SimulationDataError, match=f"s.jsonl:3: not a search: .*{message}"):
        read_searches(path)


def test_line_that_is_no_json_or_stands_twice_is_named(tmp_path):
    path = tmp_path / "s.jsonl"
    line = json.dumps(world_searches()[0].as_json())
    path.write_text(f"{line}\n{line[:50]}\n")
    with pytest.raises(SimulationDataError, match="s.jsonl:2: not a line of JSON"):
        read_searches(path)
    path.write_text(f"{line}\n{line}\n")
    with pytest.raises(SimulationDataError, match="s.jsonl:2: the same search as in .*s.jsonl:1"):
        read_searches(path)
    with pytest.raises(SimulationDataError, match="there is no such file"):
        read_searches(tmp_path / "none.jsonl")


def test_line_is_read_as_it_was_written():
    hostile = replace(world_searches()[0], query="\ud800 \x00\u2028", world=None)
    for search in (*world_searches()[:50], hostile):
        read = CollectedSearch.from_json(json.loads(json.dumps(search.as_json())))
        assert read == search and read.key == search.key and read.verdicts == search.verdicts


def test_line_of_a_user_needs_only_what_is_needed():
    line = {"question_id": "1", "question": "q", "golden_answers": ["a"], "turn": 0, "query": "q",
            "documents": [{"text": "t"}], "something": 1}  # fmt: skip
    assert CollectedSearch.from_json(line).documents[0].title == ""


@pytest.mark.slow
def test_killed_collection_goes_on_and_ends_as_one_that_was_not(tmp_path):
    command = [sys.executable, "-m", "zs_env", "simulation", "collect", "--quiet", "--method",
               f"{HERE}:Killer", "--num-questions", "30", "--max-concurrency", "3"]  # fmt: skip
    killed = tmp_path / "killed"
    kills = 0
    while True:
        kept = len(read_lines(killed / RECORDS).records)
        environ = environment() | ({"KILL": "1"} if kills < 3 else {})
        process = subprocess.run([*command, "--folder", str(killed)], cwd=ROOT, env=environ)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
        now = len(read_lines(killed / RECORDS).records)
        assert kept < now < 30 and not (killed / SEARCHES).exists()
    assert kills == 3
    subprocess.run([*command, "--folder", str(tmp_path / "whole")], cwd=ROOT, check=True)
    files = [(tmp_path / name / SEARCHES).read_text() for name in ("killed", "whole")]
    assert files[0] == files[1]


def test_engine_that_dies_loses_nothing_and_is_asked_again(tmp_path, monkeypatch, capsys):
    Dies.searches = 0
    arguments = ["simulation", "collect", "--quiet", "--method", "explorer", "--num-questions",
                 "20", "--engine", f"{HERE}:Dies", "--folder", str(tmp_path)]  # fmt: skip
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 3
    output = capsys.readouterr()
    assert "the engine failed" in output.out and "--retry-failed" in output.err
    before = read_searches(tmp_path).searches
    assert 0 < len(before) <= 20
    monkeypatch.setenv("ENGINE_IS_WELL", "1")
    main([*arguments, "--retry-failed"])
    after = {search.key for search in read_searches(tmp_path).searches}
    assert {search.key for search in before} < after
    assert not any(record.failed for record in read_records(tmp_path))


def test_folder_of_another_run_is_refused(tmp_path):
    plan = Plan(method="explorer", num_questions=2)
    collect(plan, tmp_path, show_progress=False)
    with pytest.raises(RecordError, match="`seed` was 0, now 1"):
        collect(replace(plan, seed=1), tmp_path, show_progress=False)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_real_questions_are_searched_in_real_passages(tmp_path):
    plan = Plan(
        model=one_search,
        questions=[str(DATA / "multihop_train.jsonl")],
        engines=[f"bm25,corpus={DATA / 'wikipedia_passages.jsonl'}"],
        num_questions=30,
    )
    _, found = collect(plan, tmp_path, show_progress=False)
    assert len(found.searches) == 30 and not found.left_out
    assert all(search.world is None and len(search.documents) == 5 for search in found.searches)
