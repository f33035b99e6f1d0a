"""Measuring simulators: one whose faults are known, and the engines of the embedded world."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from tests.fidelity_data import (
    LEAK,
    MISS,
    DeadSimulator,
    FaultySimulator,
    world_queries,
    write_answer,
)
from tests.full_disk import largest_file
from zs_env import Document
from zs_env.engines.bm25 import BM25Engine
from zs_env.engines.simulated import SimulatedEngine
from zs_env.errors import SearchFailure, SimulationDataError
from zs_env.evaluation.summary import Prices
from zs_env.llm import Completion, LanguageModel
from zs_env.llm.scripted import ScriptedLanguageModel
from zs_env.simulation.fidelity.asked import AskedSearch, Asking
from zs_env.simulation.fidelity.asking import _identity as identity_of_engine
from zs_env.simulation.fidelity.definitions import FIGURES
from zs_env.simulation.fidelity.findings import Finder
from zs_env.simulation.fidelity.measure import Engines, measure_fidelity
from zs_env.simulation.fidelity.page import as_page, tables_of
from zs_env.simulation.fidelity.queries import HeldOutQuery, Queries
from zs_env.simulation.judges import AnswerJudge, SearchJudge, WorldJudge
from zs_env.simulation.llm_judge import LLMJudge
from zs_env.world.noise import NATURAL

QUERIES = world_queries(400, unseen=lambda person: person % 3 == 0)


def measured(simulated, queries=QUERIES, judge=None, blind=False, **values):
    engines = Engines("bm25", simulated, blind=blind)
    return measure_fidelity(engines, queries, Asking(), judge or WorldJudge(), **values)


@pytest.fixture(scope="module")
def faulty():
    fidelity = measured({"faulty": FaultySimulator()}, prices=Prices(prompt=10, completion=20))
    return {column.name: column for column in fidelity.columns}


def test_leak_is_right_within_its_interval(faulty):
    """It is a fifth; so is that of each hop and of seen and unseen entities."""
    for name in ("leak", "leak_final", "leak_earlier", "leak_seen", "leak_unseen", "leak_states"):
        figure = faulty["faulty"].figures[name]
        assert figure.low < LEAK < figure.high, name
        assert figure.value == pytest.approx(LEAK, abs=0.01)
        assert figure.high - figure.low < 0.2


def test_misses_are_right_within_their_interval(faulty):
    for name in ("useful_final", "useful_earlier", "useful_final_seen", "useful_earlier_unseen"):
        figure = faulty["faulty"].figures[name]
        assert figure.low < 1 - MISS < figure.high, name
        assert figure.value == pytest.approx(1 - MISS, abs=0.02)
    assert faulty["bm25"].figures["useful_final"].low > 0.95


def test_true_noise_is_right_within_its_interval(faulty):
    for nominal in (0, 0.25, 0.5, 0.75, 1):
        figure = faulty["faulty"].figures[f"true_noise_{nominal:g}"]
        assert figure.low < nominal * (1 - LEAK) + (1 - nominal) * MISS < figure.high


def test_golden_answer_comes_with_the_fact_in_the_last_hop_alone(faulty):
    figures = faulty["faulty"].figures
    assert figures["useful_final_golden"].value == figures["useful_final"].value
    assert figures["useful_earlier_golden"].value == 0.0
    assert figures["leak_golden"].value == pytest.approx(LEAK / 2, abs=0.05)


def test_repeated_sentence_and_ignored_seed_show(faulty):
    """The sentence of eleven words has 8 4-grams, all of which four documents repeat."""
    assert 0.5 < faulty["faulty"].figures["repeated"].value < 0.8
    assert faulty["bm25"].figures["repeated"].high < 0.2
    assert faulty["faulty"].figures["seeds_differ"].value == 0.0
    assert faulty["faulty"].figures["seeds_distance"].value == 0.0


def test_other_style_is_told_apart(faulty):
    assert faulty["faulty"].figures["classifier"].low > 0.9
    assert "classifier" not in faulty["bm25"].figures


def test_cost_is_that_of_the_tokens(faulty):
    figures = faulty["faulty"].figures
    assert (figures["prompt_tokens"].value, figures["completion_tokens"].value) == (100, 50)
    assert figures["price"].value == pytest.approx((100 * 10 + 50 * 20) / 1e6)
    assert figures["seconds"].value > 0


def test_noise_of_the_program_and_of_deeper_results_stands_beside(faulty):
    program = faulty["noise of world,mixture=natural"].figures
    assert program["kind_states_the_fact"].value == 0.0
    for kind, share in NATURAL.items():
        # A document whose sentence would hold a golden answer has another kind.
        assert program[f"kind_{kind}"].value == pytest.approx(share / 20, abs=0.03), kind
    deeper = faulty["results 6 to 12 of bm25"].figures
    assert deeper["kind_false"].value == deeper["kind_hedged"].value == 0.0
    assert deeper["kind_namesake"].value > 0.3
    own = faulty["faulty"].figures
    assert own["kind_no_statement"].value + own["kind_states_the_fact"].value == pytest.approx(1.0)
    for column in (program, deeper, own):
        kinds = [figure.value for name, figure in column.items() if name.startswith("kind_")]
        assert sum(kinds) == pytest.approx(1.0)


def test_program_states_facts_and_does_not_leak():
    fidelity = measured({"world": "world"}, world_queries(60), blind=True)
    _, world, blind, *_ = fidelity.columns
    assert world.figures["form"].value == world.figures["useful_final"].value == 1.0
    assert world.figures["leak"].value == world.figures["useful_earlier_golden"].value == 0.0
    assert world.figures["seeds_differ"].value == 1.0
    # What it is not told, it cannot avoid.
    assert blind.name == "world without answers"
    assert blind.figures["useful_final"].value == 1.0
    assert "seeds_differ" not in [name for name, figure in blind.figures.items() if figure]


def test_real_engine_as_simulator_is_not_told_apart():
    fidelity = measured({"same": "bm25,world_seed=0"}, world_queries(60))
    figures = fidelity.columns[1].figures
    assert figures["classifier"].value == 0.5
    assert figures["seeds_differ"].value == 0.0
    assert figures["leak_final"].value == 1.0  # it ignores noise


def test_same_call_gives_the_same_figures():
    queries = world_queries(40)
    one, other = (measured({"f": FaultySimulator(), "w": "world"}, queries) for _ in range(2))

    def exact(fidelity):
        return [
            {name: figure for name, figure in column.figures.items() if name != "seconds"}
            for column in fidelity.columns
        ]

    assert exact(one) == exact(other)


def test_second_call_asks_nothing_and_a_cut_line_is_asked_again(tmp_path):
    queries, engine = world_queries(30), FaultySimulator()
    first = measured({"faulty": engine}, queries, folder=tmp_path)
    assert len(engine.asked) == 90
    assert measured({"faulty": engine}, queries, folder=tmp_path).as_json() == first.as_json()
    assert len(engine.asked) == 90
    path = tmp_path / "documents.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    again = measured({"faulty": engine}, queries, folder=tmp_path)
    assert again.columns[1].figures == first.columns[1].figures
    assert len(path.read_bytes().splitlines()) == len(content.splitlines())


def test_weights_and_not_their_time_are_what_a_model_is_known_by(tmp_path):
    weights = tmp_path / "model.safetensors"
    engine = SimulatedEngine(ScriptedLanguageModel(write_answer))
    spec = {"name": "simulated", "model": str(tmp_path)}
    found = []
    for content, time in ((b"one", 1), (b"one", 2), (b"two", 2)):
        weights.write_bytes(content)
        os.utime(weights, (time, time))
        found.append(identity_of_engine(engine, spec))
    assert found[0] == found[1] != found[2]
    engine.llm.model = str(tmp_path)  # an engine that is given as an object
    assert identity_of_engine(engine, engine) == found[2]
    engine.llm.model = "some/name"
    assert "weights" not in identity_of_engine(engine, engine)


def test_other_options_ask_again(tmp_path):
    queries, engine = world_queries(12), FaultySimulator()
    measured({"faulty": engine}, queries, folder=tmp_path)
    engines = Engines("bm25", {"faulty": engine}, blind=False)
    measure_fidelity(engines, queries, Asking(seed=1), WorldJudge(), folder=tmp_path)
    assert len(engine.asked) == 72


def test_broken_line_is_named(tmp_path):
    (tmp_path / "documents.jsonl").write_text('{"key": "a"}\n')
    with pytest.raises(SimulationDataError, match=r"documents.jsonl:1: not the documents"):
        measured({"faulty": FaultySimulator()}, world_queries(12), folder=tmp_path)


def test_full_disk_is_named_and_the_next_call_goes_on(tmp_path):
    queries, engine = world_queries(30), FaultySimulator()
    with largest_file(9_000), pytest.raises(SimulationDataError, match="disk full|free some"):
        measured({"faulty": engine}, queries, folder=tmp_path)
    assert 0 < (tmp_path / "documents.jsonl").stat().st_size <= 9_000
    assert measured({"faulty": engine}, queries, folder=tmp_path).failed == 0


def test_failures_are_counted_and_never_scored(tmp_path):
    queries = world_queries(40)
    name = queries.queries[3].query.removeprefix("the birthplace of ")
    engine = FaultySimulator(fails=name)
    fidelity = measured({"faulty": engine}, queries, folder=tmp_path)
    column = fidelity.columns[1]
    assert (column.asked, column.failed) == (120, 3)
    assert column.figures["failed"].value == pytest.approx(3 / 120)
    assert column.figures["useful_earlier"].number == 19
    assert column.figures["form"].number == 78
    engine.fails = ""
    again = measured({"faulty": engine}, queries, folder=tmp_path).columns[1]
    assert again.failed == 0 and again.figures["useful_earlier"].number == 20


def test_simulator_that_gives_up_leaves_the_others(tmp_path):
    fidelity = measured({"dead": DeadSimulator(), "w": "world"}, world_queries(12), folder=tmp_path)
    dead, world = fidelity.columns[1:3]
    assert fidelity.failed == 36
    assert (dead.asked, dead.failed, dead.figures["failed"].value) == (36, 36, 1.0)
    assert "gave up on all of its first 36 searches: no answer" in dead.gave_up
    assert world.failed == 0 and world.figures["form"].value == 1.0
    assert dead.gave_up in as_page(fidelity)


def test_real_engine_that_gives_up_is_an_error():
    engines = Engines(DeadSimulator(), {"w": "world"})
    with pytest.raises(SimulationDataError, match="gave up on all of its first 12 searches"):
        measure_fidelity(engines, world_queries(12), Asking(), WorldJudge())


def test_column_without_golden_answers_shows_what_the_prompt_gave_away():
    spec = "simulated,llm=scripted,script=tests.fidelity_data:write_answer,template=world"
    fidelity = measured({"copies": spec}, world_queries(40), blind=True)
    told, blind = (column.figures for column in fidelity.columns[1:3])
    for name in ("useful_final_golden", "useful_earlier_golden", "leak", "leak_golden"):
        assert (told[name].value, blind[name].value) == (1.0, 0.0), name
    assert told["useful_final"].value == told["leak_states"].value == 0.0
    assert told["titles"].value == told["form_number"].value == 1.0
    assert told["form"].value == 0.0, "its documents are shorter than any of the real engine"
    assert told["completion_tokens"].value > 30


PAGES = [Document(f"The capital of land{n} is town{n}.", f"land{n}") for n in range(40)]
LANDS = Queries(
    tuple(
        HeldOutQuery(f"capital land{n}", f"What is the capital of land{n}?", (f"town{n}",), f"q{n}")
        for n in range(30)
    ),
    None,
    30,
)


class Liar(SearchJudge):
    """Takes all for useful, and counts."""

    name = "liar"

    def __init__(self):
        self.judged = 0

    def judge_one(self, search):
        self.judged += 1
        return True


def test_elsewhere_a_golden_answer_or_a_judge_says_what_is_stated(tmp_path):
    real = BM25Engine(PAGES)
    engines = Engines(real, {"same": BM25Engine(PAGES[:15])})
    fidelity = measure_fidelity(engines, LANDS, Asking(top_k=1, depth=2), AnswerJudge())
    assert fidelity.columns[0].figures["useful_final"].value == 1.0
    assert fidelity.columns[1].figures["useful_final"].value == 0.5
    assert fidelity.columns[1].figures["leak"].value == 0.5
    assert fidelity.about["queries"]["hops"] == {"final": 30, "earlier": 0, "unknown": 0}
    assert len(fidelity.columns) == 3  # no kinds of noise
    judge = Liar()
    for _ in range(2):
        said = measure_fidelity(engines, LANDS, Asking(top_k=1, depth=2), judge, folder=tmp_path)
        assert judge.judged == 5 * 30  # the second call asks for no verdict
        assert said.columns[1].figures["useful_final"].value == 1.0


class CannotRead(LanguageModel):
    """Cannot judge the search for one land, whose documents are too long for it."""

    async def acomplete(self, request):
        if "capital land3\n" in request.messages[0].content:
            raise SearchFailure("longer than the context")
        return Completion("useful")

    def identity(self):
        return {"model": "test"}


@pytest.mark.parametrize("kept", [True, False])
def test_search_that_cannot_be_judged_does_not_block_later_calls(kept, tmp_path):
    searches = [AskedSearch(q, (Document("A"),)) for q in LANDS.queries]
    for _ in range(2):
        finder = Finder(LANDS, LLMJudge(CannotRead()), tmp_path if kept else None)
        for few in (searches, searches[3:4]):
            states = [finding.states for finding in finder.find("real", few)]
            assert states == [None if s is searches[3] else True for s in few]


def test_judge_of_the_world_does_not_know_other_queries():
    with pytest.raises(SimulationDataError, match="use another judge"):
        measure_fidelity(Engines("bm25", {}), LANDS, Asking(), WorldJudge())


def test_report_defines_every_figure_and_has_a_column_each(faulty):
    assert {name for column in faulty.values() for name in column.figures} <= set(FIGURES)
    fidelity = measured({"a | b": FaultySimulator()}, world_queries(20))
    tables = tables_of(fidelity)
    assert {len(row) for table in tables for row in table.rows} <= {2, 3, 4}
    page = as_page(fidelity, "picture.png")
    assert "a \\| b" in page and "![Fidelity of simulators](picture.png)" in page
    json.dumps(fidelity.as_json(), allow_nan=False)


def test_queries_that_ask_for_nothing_known_count_apart():
    queries = world_queries(12)
    odd = tuple(
        replace(query, query=f"about {query.query.split()[-1]}") for query in queries.queries
    )
    fidelity = measured({"w": "world"}, Queries((*queries.queries, *odd), (0, "small"), 24))
    assert fidelity.about["queries"]["hops"] == {"final": 6, "earlier": 6, "unknown": 12}
    assert fidelity.columns[1].figures["useful_unknown_golden"].number == 12
