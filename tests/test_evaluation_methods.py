"""Methods of evaluation, with scripted models: what the model reads, and what is kept."""

from __future__ import annotations

import pytest

from tests.helpers import FixedEngine
from zs_env import Question, SearchFailure
from zs_env.documents import SearchResult
from zs_env.engines import SearchEngine
from zs_env.evaluation.ask import ask
from zs_env.evaluation.methods import METHODS, load_method
from zs_env.evaluation.options import PlayOptions
from zs_env.evaluation.play import fill_template
from zs_env.evaluation.run import Plan
from zs_env.evaluation.scores import METRICS
from zs_env.llm import ChatRequest, Completion, LanguageModel

PERU = Question("peru", "What is the capital of <answer>Peru</answer>?", ("Lima",), {"hops": 1})
CLEAN = "What is the capital of [answer]Peru[/answer]?"
LIMA = "Lima is the capital of Peru."


class Model(LanguageModel):
    """Writes the texts of a list, one after the other; ``asked`` has the requests."""

    continues_messages = True

    def __init__(self, *texts, **fields):
        self.texts = [*texts]
        self.fields = fields
        self.asked: list[ChatRequest] = []

    async def acomplete(self, request):
        self.asked.append(request)
        text = self.texts.pop(0)
        for stop in request.stop:  # as a server strips it, without a word
            text = text.partition(stop)[0]
        return Completion(request.prefill + text, 7, 3, **self.fields)


class Broken(SearchEngine):
    def search(self, requests):
        return [SearchResult(failure=SearchFailure("no server")) for _ in requests]


def play(method, model, engine=None, **options):
    engine = FixedEngine(LIMA) if engine is None else engine
    plan = Plan(
        method=method,
        model=model,
        questions=[[PERU]],
        engines=[engine],
        options=PlayOptions(**options),
    )
    return ask(plan)


def roles(record):
    return [segment.role for segment in record.segments]


def test_direct_takes_the_first_line():
    model = Model("\n Lima. \nQuestion: and of Chile?")
    record = play("direct", model)
    [request] = model.asked
    assert [message.role for message in request.messages] == ["user"]
    assert request.messages[0].content.endswith(f"Question: {CLEAN}\nAnswer:")
    assert (record.answer, record.termination) == ("Lima.", "answered")
    assert record.scores == dict.fromkeys(METRICS, 1.0)
    assert record.engine == "none" and not record.searches
    assert (record.prompt_tokens, record.completion_tokens, record.turns) == (7, 3, 1)
    assert roles(record) == ["prompt", "policy"]
    assert record.metadata == {"hops": 1} and record.golden_answers == ("Lima",)


@pytest.mark.parametrize("text", ["", " \n ", "<answer> </answer>"])
def test_direct_without_an_answer_is_an_invalid_turn(text):
    record = play("direct", Model(text))
    assert (record.answer, record.invalid_turns, record.termination) == (None, 1, "turns_spent")
    assert set(record.scores.values()) == {0.0} and not record.failed


@pytest.mark.parametrize("method", ["cot", "r1"])
def test_thoughts_end_in_an_answer_between_tags(method):
    model = Model("<think>Peru ... <answer>Quito", "?</think> So <answer>Lima")
    record = play(method, model)
    assert record.answer == "Lima" and record.turns == 1
    thought = "<think>Peru ... <answer>Quito</answer>?</think> So "
    assert record.segments[1].text == f"{thought}<answer>Lima</answer>"
    assert play(method, Model("It is in Peru. <answer>Lima</answer> no")).answer == "Lima"
    assert play(method, Model("Lima")).answer is None


def test_rag_searches_once_with_the_question():
    model = Model("Lima")
    record = play("rag", model)
    assert [search.query for search in record.searches] == [CLEAN]
    assert record.searches[0].documents == (("", LIMA),)
    assert f"\nDoc 1: {LIMA}\nQuestion: {CLEAN}\n" in model.asked[0].messages[0].content
    assert record.answer == "Lima"


def test_agent_reads_whole_documents_where_it_searched():
    model = Model("Hm. <search>Peru</search> rest", "<answer>Lima</answer>")
    record = play("ra-agent", model)
    information = f"\n<information>\nDoc 1: {LIMA}\n</information>\n"
    first, second = model.asked
    assert first.prefill == "" and first.stop == ("</search>", "</answer>")
    assert second.prefill == f"Hm. <search>Peru</search>{information}".rstrip()
    assert roles(record) == ["prompt", "policy", "information", "policy"]
    assert record.answer == "Lima" and record.turns == 2


def test_agent_does_not_search_in_its_last_turn():
    record = play("ra-agent", Model("<search>a</search>", "<search>b</search>"), max_turns=2)
    assert [search.query for search in record.searches] == ["a"]
    assert (record.answer, record.termination, record.turns) == (None, "turns_spent", 2)


def test_search_o1_reads_what_it_condensed():
    model = Model("<search>Peru</search>", "Lima it is </information>", "<answer>Lima</answer>")
    record = play("search-o1", model)
    [reading] = model.asked[1].messages
    assert "Query: Peru\n" in reading.content and f"Doc 1: {LIMA}" in reading.content
    assert "Reasoning so far: [search]Peru[/search]\n" in reading.content
    assert record.segments[2].text == (
        "\n<information>\nDoc 1: Lima it is [/information]\n</information>\n"
    )
    assert record.searches[0].documents == (("", LIMA),)
    assert record.completion_tokens == 9 and record.turns == 2


def test_search_is_the_episode():
    model = Model("Hm.", "<think>x</think><search>Peru</search>", "<answer>Lima</answer>")
    record = play("search", model)
    assert roles(record) == ["prompt", "policy", "correction", "policy", "information", "policy"]
    assert (record.turns, record.invalid_turns, record.answer) == (3, 1, "Lima")
    assert model.asked[1].prefill.startswith("Hm.\nThat was not valid")


def test_search_goes_on_after_a_stop_inside_an_open_thought():
    model = Model("<think>maybe <search>a", " no</think><search>Peru", "<answer>Lima")
    record = play("search", model)
    first = "<think>maybe <search>a</search> no</think><search>Peru</search>"
    assert record.segments[1].text == first
    assert [search.query for search in record.searches] == ["Peru"]


def test_a_turn_that_was_cut_stays_open():
    record = play("search", Model(*["<search>Peru"] * 2, cut=True), max_turns=2)
    assert not record.searches and record.invalid_turns == 2


def test_documents_as_messages_of_the_user():
    model = Model("<search>Peru</search>", "<answer>Lima</answer>")
    play("search", model, dialogue="messages", system_prompt="Be brief.")
    request = model.asked[1]
    assert [role for role, _ in request.messages] == ["system", "user", "assistant", "user"]
    assert request.messages[0].content == "Be brief." and request.prefill == ""
    assert request.messages[2].content == "<search>Peru</search>"
    assert LIMA in request.messages[3].content


def test_plain_text_without_a_chat():
    model = Model("<search>Peru</search>", "<answer>Lima</answer>")
    play("search", model, chat_template="off", prompt_template="Q: {question}\n")
    assert not model.asked[1].messages
    assert model.asked[1].prefill.startswith(f"Q: {CLEAN}\n<search>Peru</search>\n<information>")


def test_failures_of_the_engine_are_no_wrong_answers():
    for method in ("rag", "ra-agent", "search-o1", "search"):
        record = play(method, Model("<search>a</search>", "<answer>Lima</answer>"), Broken())
        assert (record.termination, record.failure) == ("search_failed", "no server")
        assert record.failed and record.answer is None
        assert record.searches[0].failure == "no server"


@pytest.mark.parametrize("method", [n for n in METHODS if load_method(n).needs_model])
def test_failures_of_the_model_are_told_apart(method):
    class Dead(LanguageModel):
        async def acomplete(self, request):
            raise SearchFailure("HTTP 400")

    record = play(method, Dead())
    assert (record.termination, record.failure) == ("model_failed", "HTTP 400")


def test_requests_have_seeds_of_their_own_that_follow_from_question_and_turn():
    texts = ["<search>a</search>"] * 3 + ["<answer>Lima</answer>"]
    seeds = []
    for _ in range(2):
        model = Model(*texts)
        play("search", model)
        seeds.append([request.seed for request in model.asked])
    assert seeds[0] == seeds[1] and len(set(seeds[0])) == 4


def test_fields_are_filled_once_and_marked():
    text = fill_template("{a} {b} {a} {c}", {"a": "{b}", "b": "x"})
    assert text == "{b} x {b} {c}"
    assert [text[start:stop] for start, stop in text.spans] == ["{b}", "x", "{b}"]


def test_a_method_of_ones_own():
    record = play("tests.test_evaluation_methods:Guess,answer=Lima", Model())
    assert record.answer == "Lima"
    with pytest.raises(ValueError, match="did you mean 'search'"):
        load_method("serach")


class Guess(load_method("direct").__class__):
    def __init__(self, answer):
        self.guess = answer

    async def play(self, play):
        play.finish(self.guess)


@pytest.mark.parametrize(
    ("question", "queries"),
    [
        (
            "Who founded the Bank of England?",
            ["Who founded the Bank of England?", "founded Bank England", "Bank of England"],
        ),
        (
            "When was É. Durand's son born in Rio?",
            [
                "When was É. Durand's son born in Rio?",
                "É. Durand's son born Rio",
                "É. Durand",
                "Rio",
            ],
        ),
        ("rivers of peru", ["rivers of peru", "rivers peru"]),
        ("Paris?", ["Paris?", "Paris"]),
        ("東京は?", ["東京は?", "東京は"]),
        ("?", ["?"]),
    ],
)
def test_parts_of_a_question_are_searched_once_each(question, queries):
    questions = [Question("q", question, ("x",))]
    record = ask(Plan(method="parts", questions=[questions], engines=[FixedEngine(LIMA)]))
    assert [search.query for search in record.searches] == queries
    assert record.answer is None and not record.failed
