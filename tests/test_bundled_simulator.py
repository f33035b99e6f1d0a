"""The bundled simulation LLM: `simulated,model=world` plays BM25 over the embedded world."""

from __future__ import annotations

import gymnasium as gym
import pytest

pytest.importorskip("torch")

from zs_env.documents import SearchRequest
from zs_env.engines import checked_search, load_engine
from zs_env.llm.bundled import ASKED, FOLDER
from zs_env.prompts import load_simulation_template
from zs_env.simulation.truth import asked_facts, facts_in
from zs_env.world import load_world

ENGINE = "simulated,model=world"
QUESTIONS = [q for q in load_world().questions("train") if q.metadata["kind"] == "1-hop"][:40]


@pytest.fixture(scope="module")
def engine():
    made = load_engine(ENGINE)
    yield made
    made.close()


def requests(**options):
    return [
        SearchRequest(q.text, q.text, q.golden_answers, key=number, **{"top_k": 2, **options})
        for number, q in enumerate(QUESTIONS)
    ]


def states(result, request):
    world = load_world()
    asked = asked_facts(world, request.query)
    assert asked
    return any(facts_in(world, asked, document.text) for document in result.documents)


def test_useful_documents_state_what_is_asked_and_noisy_ones_do_not(engine):
    useful, noisy = requests(), requests(noisy=True)
    told = [states(*pair) for pair in zip(checked_search(engine, useful), useful, strict=True)]
    leaked = [states(*pair) for pair in zip(checked_search(engine, noisy), noisy, strict=True)]
    assert sum(told) >= 32 and sum(leaked) <= 6


@pytest.mark.parametrize("top_k", [1, 2, 3, 4, 5])
def test_as_many_documents_come_as_are_asked_for(engine, top_k):
    results = checked_search(engine, requests(top_k=top_k)[:8])
    assert sum(len(result.documents) == top_k for result in results) >= 7


def test_documents_follow_from_the_request_alone(engine):
    asked = requests()[:6] + requests(noisy=True)[:6]
    together = checked_search(engine, asked)
    assert [checked_search(engine, [request])[0] for request in asked] == together
    others = [request._replace(key=request.key + 100) for request in asked]
    assert checked_search(engine, others) != together


def test_identity_names_the_weights_and_no_place_of_this_machine(engine):
    identity = engine.identity()
    assert identity["llm"]["model"].startswith("world:") and str(FOLDER) not in str(identity)
    assert identity["contrast"] == ASKED["contrast"] and identity["hide_answer_from_noisy"]


def test_options_that_are_given_take_the_place_of_those_it_was_tuned_for():
    given = load_engine(f"{ENGINE},contrast=0,hide_answer_from_noisy=false", check=False).identity()
    assert "contrast" not in given and "hide_answer_from_noisy" not in given
    assert given["template"] == load_simulation_template(ASKED["template"])


def test_a_model_called_world_on_a_server_is_not_it():
    server = "simulated,llm=openai_api,base_url=http://127.0.0.1:1/v1,model=world"
    served = load_engine(server, check=False).identity()
    assert "Google" in str(served["prompts"]) and "contrast" not in served


def test_questions_about_other_things_draw_a_warning(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "Who wrote Emma?", "answers": ["Jane Austen"]}')
    with pytest.warns(UserWarning, match="knows only the embedded world"):
        gym.make("ZeroSearch-v0", questions=path, engine=ENGINE)


def test_environment_shows_what_it_writes():
    env = gym.make("ZeroSearch-v0", engine=ENGINE, split="train", top_k=2)
    env.reset(seed=3)
    question = env.unwrapped.episode.question
    observation, *_ = env.step(f"<search>{question.text}</search>")
    env.close()
    assert "\nDoc 1 (" in observation and "\nDoc 2 (" in observation
