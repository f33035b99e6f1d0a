"""The engine that a language model plays."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import sys
import threading

import gymnasium as gym
import pytest

from benchmarks.chat_server import FAULTS, MODEL, Reply, documents, good
from tests.helpers import mixed_policy
from zs_env import Document, SearchFailure, SearchRequest, SearchResult, prompts
from zs_env.engines import checked_asearch, checked_search, load_engine
from zs_env.engines.document_forms import parse_documents
from zs_env.engines.simulated import OPTIONS, SimulatedEngine, load
from zs_env.engines.usage import Usage
from zs_env.envs.text_vector_env import ZeroSearchVectorEnv
from zs_env.errors import ServiceError
from zs_env.llm import ChatRequest, Completion, Grammar, LanguageModel
from zs_env.llm.scripted import ScriptedLanguageModel
from zs_env.testing import SearchEngineContract
from zs_env.world import load_world
from zs_env.world.tokenizer import WorldTokenizer

REQUEST = SearchRequest("longest river", "Which sea?", ("Pale Sea", "the Pale Sea"), key=9)


def write(request):
    """As many documents as asked, which follow from prompt and seed."""
    body = {"messages": [list(message) for message in request.messages], "seed": request.seed}
    return documents(body)


class Recorder(LanguageModel):
    """Keeps what it is asked, and answers with what ``texts`` has next."""

    continues_messages = True
    grammars = ("regex", "json")

    def __init__(self, *texts):
        super().__init__()
        self.texts = list(texts)
        self.asked = []

    async def acomplete(self, request):
        self.asked.append(request)
        await asyncio.sleep(0.01)
        return Completion(self.texts.pop(0), 10, 3)


SCRIPTED = {"llm": "scripted", "script": write}


class BatchModel(LanguageModel):
    """A model that takes batches, of which it keeps the sizes."""

    def __init__(self):
        super().__init__()
        self.sizes = []
        self.threads = set()

    def complete(self, requests):
        self.sizes.append(len(requests))
        self.threads.add(threading.get_ident())
        return [
            SearchFailure("too long")
            if "too long" in request.messages[0].content
            else Completion(write(request))
            for request in requests
        ]


class TestSimulatedEngineContract(SearchEngineContract):
    def make_engine(self):
        return SimulatedEngine(ScriptedLanguageModel(write))


class TestSimulatedEngineWithBatchesContract(SearchEngineContract):
    def make_engine(self):
        return SimulatedEngine(BatchModel())


def documents_of(*texts, **changes):
    engine = SimulatedEngine(Recorder(*texts))
    return checked_search(engine, [REQUEST._replace(**changes)])[0]


def test_prompt_tells_the_model_what_the_request_carries():
    model = Recorder("\n".join(f"Doc {i}: x" for i in range(9)))
    engine = SimulatedEngine(model, search_engine="Bing")
    checked_search(engine, [REQUEST._replace(top_k=7, document_words=55)])
    [request] = model.asked
    [(role, prompt)] = request.messages
    assert role == "user"
    for part in ("Bing", "longest river", "Which sea?", "Pale Sea; the Pale Sea", "55 words"):
        assert part in prompt
    assert "write 7 useful documents" in prompt and "five" not in prompt
    assert prompt.endswith("Useful Output:\n")
    assert request.max_tokens == 4 * 7 * 55 and request.temperature == 0.8


def test_prompt_of_a_noisy_search_differs_in_quality_and_example():
    prompts = []
    for noisy in (False, True):
        model = Recorder("Doc 1: x", "Doc 1: x")
        checked_search(SimulatedEngine(model), [REQUEST._replace(noisy=noisy, top_k=1)])
        prompts.append(model.asked[0].messages[0].content)
    assert "Now write 1 useful documents" in prompts[0]
    assert "Now write 1 noisy documents" in prompts[1] and prompts[1].endswith("Noisy Output:\n")
    assert "The Veld" in prompts[0] and "The Veld" not in prompts[1]


def test_fine_tuned_form_has_no_example():
    model = Recorder(*["Doc 1: x"] * 2)
    checked_search(SimulatedEngine(model, template="fine-tuned"), [REQUEST])
    prompt = model.asked[0].messages[0].content
    assert "Ardonia" not in prompt and "longest river" in prompt
    assert "Useful Output:" in prompt and len(prompt.split()) < 60


def test_template_from_a_file_is_filled_in_once(tmp_path):
    """A query that spells a field must not be filled in."""
    path = tmp_path / "template.txt"
    fields = "{engine}|{query}|{question}|{golden_answers}|{golden_answer}"
    path.write_text(fields + "|{quality_title} {} { }")
    model = Recorder("Doc 1: x")
    engine = SimulatedEngine(model, template=str(path))
    checked_search(engine, [REQUEST._replace(query="{question} {engine}", top_k=1)])
    assert model.asked[0].messages[0].content == (
        "Google|{question} {engine}|Which sea?|Pale Sea; the Pale Sea|Pale Sea|Useful {} { }"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{query} {quality} {passages}", r"unknown fields \['passages'\]"),
        ("{query}", r"\{quality\}"),
        ("{quality}", r"must hold \{query\}"),
    ],
)
def test_template_that_cannot_work_is_refused(tmp_path, template, message):
    path = tmp_path / "template.txt"
    path.write_text(template)
    with pytest.raises(ValueError, match=message):
        SimulatedEngine(BatchModel(), template=str(path))


def test_answer_can_be_hidden_from_noisy_prompts_alone():
    """A departure from the paper, off by default and part of the identity only when it is on."""
    request = SearchRequest("q", "Question?", ("Lima",), noisy=True)
    for template in prompts.SIMULATION_TEMPLATES:
        told, hidden = (
            prompts.render_simulation(text, request, "Google", hide_answer_from_noisy=hide)
            for text in [prompts.SIMULATION_TEMPLATES[template]]
            for hide in (False, True)
        )
        assert "Lima" in told and "Lima" not in hidden
        assert hidden == told.replace("Lima", "")
        useful = request._replace(noisy=False)
        text = prompts.SIMULATION_TEMPLATES[template]
        assert "Lima" in prompts.render_simulation(
            text, useful, "Google", hide_answer_from_noisy=True
        )
    plain = load("scripted", script="tests.test_simulated:write")
    hiding = load("scripted", script="tests.test_simulated:write", hide_answer_from_noisy=True)
    assert "hide_answer_from_noisy" not in plain.identity()
    assert hiding.identity()["hide_answer_from_noisy"] is True
    with pytest.raises(TypeError, match="`hide_answer_from_noisy` must be true or false, got 1"):
        load("scripted", script="tests.test_simulated:write", hide_answer_from_noisy=1)


@pytest.mark.parametrize("top_k", range(1, 21))
def test_template_of_the_world_is_in_its_vocabulary(top_k):
    question = load_world().questions()[top_k]
    request = SearchRequest(question.text, question.text, question.golden_answers, top_k=top_k)
    tokenizer = WorldTokenizer()
    for noisy in (False, True):
        text = prompts.render_simulation(
            prompts.SIMULATION_TEMPLATES["world"], request._replace(noisy=noisy), "Google"
        )
        ids = tokenizer.encode(text)
        assert tokenizer.unk_token_id not in ids and len(text.splitlines()) == 1
        assert tokenizer.decode(ids).startswith(f"{top_k} {'noisy' if noisy else 'useful'} ")


def test_template_unknown_is_refused():
    with pytest.raises(ValueError, match="one of prompt-based, fine-tuned, world or the path"):
        SimulatedEngine(BatchModel(), template="few-shot")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Doc 1: a b\nDoc 2: c", ["a b", "c"]),
        ("Sure, here they are:\n\n**Doc 1:** a\n\n- Document 2: b\n\nI hope it helps.", ["a", "b"]),
        ("Doc 1: see Doc 2: for more\nDoc 3: c", ["see Doc 2: for more", "c"]),
        ("Doc 1: a\n  goes on\nDoc 2:\n\nb\nb\n\nnot this", ["a goes on", "b b"]),
        ("Doc 1:\nDoc 2:   \nDoc 3: c", ["c"]),
        ("doc 7: a\nDOC 1 : b", ["a", "b"]),
        ("Documents are rare.\nDoctor 1: no", []),
        ("Doc 1: a\x00b \ud800 <ANSWER>x</answer>\u2028c", ["a b \ufffd [ANSWER]x[/answer] c"]),
        ("Doc 1: a", ["a"]),
        ("", []),
    ],
)
def test_documents_are_the_lines_that_say_so(text, expected):
    assert [document.text for document in parse_documents(text, 5)] == expected


def test_documents_have_titles_where_they_are_given():
    found = parse_documents("Doc 1 (Title: The Veld): a\nDoc 2 (Orrel): b\nDoc 3 (x) c", 5)
    assert found == [Document("a", "The Veld"), Document("b Doc 3 (x) c", "Orrel")]


@pytest.mark.parametrize("top_k", [1, 3, 12])
def test_documents_are_at_most_as_many_as_wanted(top_k):
    text = "\n".join(f"Doc {i}: x{i}" for i in range(1, 10_001))
    assert [d.text for d in parse_documents(text, top_k)] == [f"x{i + 1}" for i in range(top_k)]


def test_too_few_documents_are_asked_for_once_more_with_another_seed():
    model = Recorder("Doc 1: a", "Doc 1: b\nDoc 2: c", "never")
    engine = SimulatedEngine(model)
    [result] = checked_search(engine, [REQUEST])
    assert [document.text for document in result.documents] == ["b", "c"]
    first, second = model.asked
    assert first.messages == second.messages and first.seed != second.seed


def test_second_try_that_is_worse_is_not_taken():
    assert documents_of("Doc 1: a\nDoc 2: b", "Sorry.").documents == (Document("a"), Document("b"))


def test_second_try_that_fails_leaves_what_there_is():
    class Failing(Recorder):
        async def acomplete(self, request):
            if self.asked:
                raise SearchFailure("down")
            return await super().acomplete(request)

    [result] = checked_search(SimulatedEngine(Failing("Doc 1: a")), [REQUEST])
    assert result == SearchResult((Document("a"),))


def test_thoughts_of_a_reasoning_model_are_no_documents():
    thought = "<think>I could write\nDoc 1: a plan of mine\n</think>\n\n"
    assert documents_of(f"{thought}Doc 1: a\nDoc 2: b", top_k=2).documents == (
        Document("a"),
        Document("b"),
    )


def test_no_documents_at_all_are_a_typed_failure():
    result = documents_of("I cannot.", "Sorry.")
    assert "wrote no line 'Doc 1: …', but 'Sorry.'" in str(result.failure)


def test_usage_counts_searches_tokens_and_failures():
    full = "\n".join(f"Doc {i}: x" for i in range(5))
    engine = SimulatedEngine(Recorder(full, "no", "no"))
    checked_search(engine, [REQUEST])
    checked_search(engine, [REQUEST._replace(key=1)])
    usage = engine.usage
    assert (usage.searches, usage.failed_searches, usage.completions) == (2, 1, 3)
    assert (usage.prompt_tokens, usage.completion_tokens) == (30, 9)
    assert 0.03 <= usage.seconds < 10.0
    assert str(usage).startswith("2 searches (1 failed), 3 completions, 30 + 9 tokens")


def test_usage_costs_as_in_the_example_of_the_paper():
    """64,000 searches: 586.7 USD at a search API, 70.8 for the GPUs of a 14B model, 88 % less."""
    cost = Usage(searches=64_000).search_api_cost()
    assert cost == pytest.approx(586.7, abs=0.05)
    assert 1 - 70.8 / cost == pytest.approx(0.88, abs=0.005)
    assert Usage(searches=10).search_api_cost(price_per_search=0.5) == 5.0
    used = Usage(prompt_tokens=2_000_000, completion_tokens=500_000)
    assert used.token_cost(3.0, 8.0) == 10.0


def test_requests_alike_and_under_way_are_asked_once():
    full = "\n".join(f"Doc {i}: x" for i in range(5))
    engine = SimulatedEngine(model := Recorder(full, full, full))
    group = [REQUEST._replace(turn=turn) for turn in (0, 0, 1)]
    results = checked_search(engine, [*group, REQUEST._replace(key=1)])
    assert len(model.asked) == 2 and engine.usage.searches == 4
    assert results[0] == results[1] == results[2]
    checked_search(engine, [REQUEST])
    assert len(model.asked) == 3, "nothing is kept once it is answered"


@pytest.mark.parametrize(
    "change",
    [{"noisy": True}, {"question": "?"}, {"golden_answers": ("x",)}, {"key": 1}, {"top_k": 2}],
)
def test_requests_that_differ_are_not_taken_for_each_other(change):
    engine = SimulatedEngine(ScriptedLanguageModel(write))
    first, second = checked_search(engine, [REQUEST, REQUEST._replace(**change)])
    assert first != second


def test_batch_model_gets_the_whole_batch_at_once_and_one_failure_is_its_own():
    engine = SimulatedEngine(model := BatchModel())
    requests = [REQUEST._replace(key=i) for i in range(50)]
    results = checked_search(engine, [*requests, REQUEST._replace(query="too long")])
    assert model.sizes[0] == 51
    assert [result.failure is None for result in results] == [True] * 50 + [False]
    assert results[:50] == [checked_search(engine, [request])[0] for request in requests]


def test_cancelled_search_leaves_others_that_share_it_alone():
    engine = SimulatedEngine(Recorder("\n".join(f"Doc {i}: x" for i in range(5))))

    async def main():
        first = asyncio.create_task(checked_asearch(engine, REQUEST))
        second = asyncio.create_task(checked_asearch(engine, REQUEST))
        await asyncio.sleep(0.003)
        first.cancel()
        return await second

    assert len(asyncio.run(main()).documents) == 5


class ClosedModel(BatchModel):
    """Knows whether it was closed; ``made`` holds all of them."""

    made: list[ClosedModel] = []

    def __init__(self):
        super().__init__()
        self.closed = False
        self.made.append(self)

    def close(self):
        self.closed = True


def test_close_leaves_a_model_that_the_user_made_alone():
    mine = ClosedModel()
    for engine in (SimulatedEngine(mine), load_engine({"name": "simulated", "llm": mine})):
        engine.close()
    assert not mine.closed
    load_engine({"name": "simulated", "llm": "tests.test_simulated:ClosedModel"}).close()
    made = sys.modules["tests.test_simulated"].ClosedModel.made[-1]
    assert made is not mine and made.closed


def test_message_is_begun_and_read_with_its_beginning():
    model = Recorder("Doc 1: a\nDoc 2: b")
    engine = SimulatedEngine(model, prefill=True)
    [result] = checked_search(engine, [REQUEST._replace(top_k=2)])
    assert [document.text for document in result.documents] == ["a", "b"]
    assert model.asked[0].prefill == "Doc 1:" and model.asked[0].grammar is None
    assert [role for role, _ in model.asked[0].messages] == ["user"]


@pytest.mark.parametrize("prefill", ["Doc 1:", "Documents:\n"])
def test_begun_message_is_whole_whether_the_model_repeats_its_beginning_or_not(prefill):
    """A server that cannot continue a message begins another one, with the same words."""
    rest = " a\nDoc 2: b" if prefill == "Doc 1:" else "Doc 1: a\nDoc 2: b"
    for text in (rest, prefill + rest, f"\n{prefill}{rest}"):
        llm = ScriptedLanguageModel(lambda request, text=text: text)
        engine = SimulatedEngine(llm, prefill=prefill)
        [result] = checked_search(engine, [REQUEST._replace(top_k=2)])
        assert [document.text for document in result.documents] == ["a", "b"]


def test_grammar_follows_the_request_and_the_beginning():
    model = Recorder(*["Doc 1: a"] * 2, '{"documents": ["a b"]}')
    request = REQUEST._replace(top_k=1, document_words=2)
    for options in ({"grammar": "regex"}, {"grammar": "regex", "prefill": True}):
        checked_search(SimulatedEngine(model, **options), [request])
    [result] = checked_search(SimulatedEngine(model, grammar="json"), [request])
    word = r"\S{1,24}"
    assert [asked.grammar for asked in model.asked[:2]] == [
        Grammar("regex", f"Doc 1: {word}( {word}){{0,3}}"),
        Grammar("regex", f" {word}( {word}){{0,3}}"),
    ]
    assert model.asked[2].grammar.kind == "json"
    assert result.documents == (Document("a b"),)
    for_lines, _, for_json = (asked.messages[0].content for asked in model.asked)
    assert for_json.startswith(for_lines) and '{"documents": [' in for_json[len(for_lines) :]


def test_json_without_documents_is_asked_for_again_and_then_a_typed_failure():
    engine = SimulatedEngine(Recorder("Sorry.", '{"documents": [""]}'), grammar="json")
    [result] = checked_search(engine, [REQUEST])
    assert 'wrote no JSON list, but \'{"documents"' in str(result.failure)
    assert engine.usage.completions == 2


def test_identity_without_prefill_and_grammar_is_that_of_older_records():
    """Records are kept under it."""
    llm = ScriptedLanguageModel(write)
    plain = SimulatedEngine(llm).identity()
    assert list(plain) == ["llm", "template", "prompts", "max_tokens", "temperature", "top_p"]
    others = [
        SimulatedEngine(llm, **options).identity()
        for options in (
            {"prefill": True},
            {"prefill": "Doc"},
            {"grammar": "regex"},
            {"prefill": True, "grammar": "regex"},
            {"grammar": "json"},
        )
    ]
    assert len({json.dumps(identity) for identity in (plain, *others)}) == 6
    assert SimulatedEngine(llm, prefill=False, grammar=None).identity() == plain
    assert SimulatedEngine(llm, prefill="Doc 1:").identity() == others[0]


def test_check_asks_once_for_the_form_and_not_without_one():
    model = Recorder("Doc 1: a b", "Sure, I")
    SimulatedEngine(model).check()
    assert model.asked == []
    SimulatedEngine(model, grammar="regex").check()
    assert model.asked[0].max_tokens == 8 and model.asked[0].grammar.kind == "regex"
    with pytest.raises(ServiceError, match="does not keep to `grammar` regex, and wrote 'Sure, I'"):
        SimulatedEngine(model, grammar="regex").check()


def test_check_says_when_the_form_is_refused():
    class Refusing(Recorder):
        async def acomplete(self, request):
            raise SearchFailure("HTTP 400: extra inputs are not permitted")

    with pytest.raises(ServiceError, match="cannot be asked in this form: HTTP 400"):
        SimulatedEngine(Refusing(), prefill=True).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefill": True}, "BatchModel cannot continue a message: leave out `prefill`"),
        (
            {"grammar": "regex"},
            "BatchModel cannot be held to a grammar of the kind 'regex', .*none",
        ),
    ],
)
def test_model_that_does_not_know_the_form_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SimulatedEngine(BatchModel(), **options)


def test_written_form_of_an_engine_takes_prefill_and_grammar():
    spec = "simulated,llm=scripted,script=tests.test_simulated:write,grammar=regex,prefill="
    identities = [load_engine(spec + text).identity() for text in ("Doc 1:", "true")]
    assert [identity["prefill"] for identity in identities] == ["Doc 1:"] * 2
    kind, regex = identities[0]["grammar"]
    assert kind == "regex" and regex.startswith(r" \S")


def test_identity_changes_with_the_worked_example(monkeypatch):
    engine = SimulatedEngine(ScriptedLanguageModel(write))
    before = json.dumps(engine.identity())
    monkeypatch.setitem(prompts.EXAMPLES, "noisy", ("something else",) * 5)
    assert json.dumps(engine.identity()) != before


@pytest.mark.parametrize("script", [lambda request: "", functools.partial(write)])
def test_identity_of_a_script_without_a_name_is_refused(script):
    with pytest.raises(NotImplementedError, match="must have a unique name to be recorded"):
        ScriptedLanguageModel(script).identity()


def options_for(server, **changes):
    return {
        "base_url": server.url,
        "model": MODEL,
        "timeout_s": 0.5,
        "deadline_s": 3.0,
        "max_attempts": 2,
        **changes,
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_one_episode_ends_it_or_not_and_leaves_the_others_alone(server, fault):
    """Each way of misbehaving, in one of eight episodes; a strange text is still a text."""
    kwargs = {"engine": {"name": "simulated", **options_for(server)}}

    def play():
        envs = ZeroSearchVectorEnv(8, **kwargs)
        envs.reset(seed=0)
        queries = ["bad" if i == 3 else f"query {i}" for i in range(8)]
        texts, _, _, truncated, infos = envs.step([f"<search>{q}</search>" for q in queries])
        envs.close()
        return texts, truncated.tolist(), infos

    expected, _, _ = play()
    server.plan = lambda body, attempt: (
        FAULTS[fault](body) if "Query: bad\n" in body["messages"][0]["content"] else good(body)
    )
    texts, truncated, infos = play()
    others = [i for i in range(8) if i != 3]
    assert [texts[i] for i in others] == [expected[i] for i in others]
    if fault in ("many documents", "tags", "unicode"):
        assert truncated == [False] * 8
        block = texts[3].rpartition("<information>")[2]
        assert block.count("<answer>") == 0 and block.count("\nDoc ") <= 5
        assert block.endswith("</information>\n") and "\x00" not in block
    else:
        assert truncated == [i == 3 for i in range(8)]
        assert infos["search_failed"].tolist() == [i == 3 for i in range(8)]


def test_environment_by_name_plays_whole_episodes(server):
    env = gym.make("ZeroSearch-v0", engine={"name": "simulated", **options_for(server)})
    observation, _ = env.reset(seed=0)
    over = False
    while not over:
        observation, _, terminated, truncated, info = env.step(mixed_policy(observation))
        over = terminated or truncated
    assert not info["search_failed"]
    env.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_engine_that_was_used_works_in_other_processes(server, context):
    engine = load_engine({"name": "simulated", **options_for(server)})
    assert checked_search(engine, [REQUEST])[0].failure is None
    envs = gym.make_vec(
        "zs_env:ZeroSearch-v0",
        num_envs=2,
        vectorization_mode="async",
        engine=engine,
        vector_kwargs={"context": context},
    )
    envs.reset(seed=0)
    truncated = envs.step(["<search>a</search>", "<search>b</search>"])[3]
    envs.close()
    assert not truncated.any() and server.num_requests == 3
    assert checked_search(engine, [REQUEST])[0].failure is None
    engine.close()


def test_engine_works_while_an_event_loop_is_running(server):
    """As in a notebook."""
    engine = load_engine({"name": "simulated", **options_for(server)})

    async def main():
        [result] = checked_search(engine, [REQUEST])
        return result, await checked_asearch(engine, REQUEST)

    first, second = asyncio.run(main())
    assert first == second and first.failure is None
    engine.close()


def test_unknown_model_is_one_clear_error_when_the_environment_is_made(server):
    with pytest.raises(ServiceError, match="no model 'huge'"):
        gym.make("ZeroSearch-v0", engine={"name": "simulated", **options_for(server, model="huge")})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, TypeError, "wrong options for llm 'openai_api': missing .* 'model'"),
        ({"llm": "nobody"}, ValueError, "`llm` must be one of openai_api, vllm_local"),
        ({"llm": "scripted", "script": write, "temprature": 1}, TypeError, "'temprature'"),
        ({"llm": BatchModel(), "model": "m"}, ValueError, "already made"),
        ({"llm": "scripted", "script": "nope:f"}, ValueError, "there is no script 'nope:f'"),
        ({"llm": "scripted", "script": "json:f"}, ValueError, "there is no script 'json:f'"),
        ({**SCRIPTED, "temperature": "hot"}, TypeError, "`temperature` must be a number of at le"),
        ({**SCRIPTED, "temperature": -0.1}, ValueError, "`temperature` must .* got -0.1"),
        ({**SCRIPTED, "temperature": float("nan")}, ValueError, "`temperature` must .* got nan"),
        ({**SCRIPTED, "top_p": 5}, ValueError, r"`top_p` must be a number in \(0, 1\], got 5"),
        ({**SCRIPTED, "top_p": 0}, ValueError, "`top_p` must .* got 0"),
        ({**SCRIPTED, "top_p": True}, TypeError, "`top_p` must .* got True"),
        ({**SCRIPTED, "max_tokens": -1}, ValueError, "`max_tokens` must be an integer of at least"),
        ({**SCRIPTED, "max_tokens": 0}, ValueError, "`max_tokens` must .* got 0"),
        ({**SCRIPTED, "max_tokens": 9.5}, TypeError, "`max_tokens` must .* got 9.5"),
        ({**SCRIPTED, "prefill": 3}, TypeError, "`prefill` must be a text"),
        ({**SCRIPTED, "grammar": "regexp"}, ValueError, "one of regex, json, .*mean 'regex'"),
    ],
)
def test_wrong_option_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        load_engine({"name": "simulated", **options})


@pytest.mark.parametrize(
    ("number", "error"),
    [
        ({"seed": -1}, ValueError),
        ({"seed": 2**31}, ValueError),
        ({"seed": "1"}, TypeError),
        ({"temperature": None}, TypeError),
        ({"top_p": 1.01}, ValueError),
        ({"max_tokens": 0}, ValueError),
    ],
)
def test_chat_request_with_a_number_that_is_none_is_refused(number, error):
    [(name, value)] = number.items()
    with pytest.raises(error, match=f"`{name}` must be a.*, got {value!r}"):
        ChatRequest((), **number)


def test_script_in_a_module_with_a_syntax_error_is_refused(tmp_path, monkeypatch):
    (tmp_path / "broken_script.py").write_text("def write(request:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="no script 'broken_script:write': .*line 1"):
        ScriptedLanguageModel("broken_script:write")


def test_model_that_overrides_nothing_is_refused():
    with pytest.raises(TypeError, match="Idle must override `complete` or `acomplete`"):

        class Idle(LanguageModel):
            pass


def test_latency_and_order_of_replies_change_nothing(server):
    """The same transcripts, however the server answers and how many ask at once."""
    seen = []
    for delays, size in (((0.0,), 16), ((0.05, 0.0, 0.02), 16), ((0.01, 0.03), 3)):
        count = iter(range(10**6))
        server.plan = lambda body, attempt, delays=delays, count=count: Reply(
            documents(body), delay_s=delays[next(count) % len(delays)]
        )
        kwargs = {
            "engine": {"name": "simulated", **options_for(server, max_concurrency=size)},
        }
        envs = ZeroSearchVectorEnv(16, noise="constant", **kwargs)
        texts, _ = envs.reset(seed=0)
        first = envs.episodes
        while not all(episode.finished for episode in first):
            texts = envs.step([mixed_policy(text) for text in texts])[0]
        envs.close()
        seen.append([episode.transcript for episode in first])
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("templat", "engine 'simulated' has no option 'templat' .did you mean 'template'"),
        ("modle", "wrong options for llm 'openai_api': 'modle' is unknown .did you mean 'model'"),
    ],
)
def test_unknown_option_names_the_nearest_of_engine_or_language_model(option, message):
    with pytest.raises(TypeError, match=message):
        load_engine({"name": "simulated", "model": "m", option: "x"}, check=False)


def test_options_of_the_engine_are_those_that_load_takes():
    named = {p.name for p in inspect.signature(load).parameters.values() if p.kind != p.VAR_KEYWORD}
    assert named == set(OPTIONS)


LEAKY = ["Doc 1: Lima, it is.\nDoc 2: Nothing.", "Doc 1: Nobody knows.\nDoc 2: See LIMA!"]


def leaky_engine(texts, retry_leaks):
    """Engine whose model writes ``texts`` one after the other, and the number it has written."""
    asked = []

    def script(request):
        asked.append(request)
        return texts[min(len(asked), len(texts)) - 1]

    return SimulatedEngine(ScriptedLanguageModel(script), retry_leaks=retry_leaks), asked


NOISY = SearchRequest("capital", "What is the capital of Peru?", ("Lima",), noisy=True, top_k=2)


@pytest.mark.parametrize(
    ("texts", "retries", "expected", "num_asked", "num_leaks"),
    [
        ([*LEAKY, "Doc 1: A.\nDoc 2: B."], 2, ["A.", "B."], 3, 2),
        (LEAKY, 1, ["Nothing."], 2, 2),  # the first of the attempts that are as good
        (LEAKY, 3, ["Nothing."], 4, 4),
        (["Doc 1: A.\nDoc 2: B."], 3, ["A.", "B."], 1, 0),
        (["Doc 1: A."], 3, ["A."], 2, 0),  # too short twice, which no retry mends
        (LEAKY, 0, ["Lima, it is.", "Nothing."], 1, 0),
    ],
)
def test_noise_that_gives_the_answer_away_is_asked_again_and_then_left_out(
    texts, retries, expected, num_asked, num_leaks
):
    engine, asked = leaky_engine(texts, retries)
    [result] = engine.search([NOISY])
    assert [document.text for document in result.documents] == expected
    assert (len(asked), engine.usage.leaks) == (num_asked, num_leaks)
    assert len({request.seed for request in asked}) == num_asked, "each attempt has its own seed"


def test_useful_documents_may_hold_the_answer():
    engine, asked = leaky_engine(LEAKY, 3)
    [result] = engine.search([NOISY._replace(noisy=False)])
    assert (len(asked), len(result.documents)) == (1, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"golden_answers": ()},  # a regression: an error
        {"golden_answers": ("no",)},  # occurs everywhere
        {"query": "is Lima a capital"},  # documents about it must name it
    ],
)
def test_answer_that_cannot_be_given_away_is_not_guarded(changes):
    engine, asked = leaky_engine(["Doc 1: Lima\nDoc 2: no"], 2)
    [result] = engine.search([NOISY._replace(**changes)])
    assert [document.text for document in result.documents] == ["Lima", "no"]
    assert (len(asked), engine.usage.leaks) == (1, 0)


def test_noise_that_always_gives_the_answer_away_is_a_failure():
    engine, asked = leaky_engine(["Doc 1: Lima\nDoc 2: In Lima"], 2)
    [result] = engine.search([NOISY])
    assert "gave the golden answer away" in str(result.failure)
    assert (len(asked), engine.usage.leaks) == (3, 6)
