"""Judges of searches, what is kept of their verdicts, and how far two of them agree."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.chat_server import MODEL, Reply
from tests.full_disk import largest_file
from tests.simulation_data import (
    ROOT,
    environment,
    judged,
    make_search,
    world_searches,
)
from zs_env import SearchFailure
from zs_env.commands.main import main
from zs_env.errors import RecordError, ServiceError, SimulationDataError
from zs_env.evaluation.store import LOCK, lock_folder
from zs_env.keyed_random import uniform
from zs_env.llm import Completion, LanguageModel
from zs_env.llm.scripted import ScriptedLanguageModel
from zs_env.prompts import SEARCH_JUDGE, SEARCH_JUDGE_AGAIN
from zs_env.simulation.agreement import agreement_of, compare_judges, kappa_of
from zs_env.simulation.judges import FunctionJudge, WorldJudge, load_judge
from zs_env.simulation.llm_judge import PATIENCE, LLMJudge, read_verdict
from zs_env.simulation.searches import JUDGED, SEARCHES, read_searches, write_searches
from zs_env.simulation.truth import stated_facts
from zs_env.simulation.verdicts import NO_VERDICT, NOT_ASKED, VerdictLog, judge_source
from zs_env.world import load_world

HERE = "tests.test_simulation_judge"


class Model(LanguageModel):
    """Answers by a function from the query to a text; fails if that is None."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    async def acomplete(self, request):
        self.asked.append(request)
        query = request.messages[0].content.partition("\nQuery: ")[2].partition("\n")[0]
        text = self.answer(query, len(request.messages))
        if text is None:
            raise SearchFailure("HTTP 500")
        return Completion(text)

    def identity(self):
        return {"model": "test"}


def says(text):
    return Model(lambda *_: text)


def truth(search):
    return stated_facts(load_world(*search.world), search.query, search.documents).useful


def slow_world(search):
    """The world as a function; with ``KILL`` it kills the program at a random search."""
    if os.environ.get("KILL") and random.random() < 0.02:
        os.kill(os.getpid(), signal.SIGKILL)
    return truth(search)


def always(search):
    return True


@pytest.fixture
def source(tmp_path):
    path = tmp_path / SEARCHES
    write_searches(path, [replace(s, verdicts={}) for s in world_searches()])
    return path


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("useful", True),
        (" USEFUL.\n", True),
        ("Noisy", False),
        ("**noisy**", False),
        ("Verdict: useful", True),
        ("<think>noisy?</think>useful", True),
        ("useful and noisy", None),
        ("The documents are useful.", None),
        ("not useful", None),
        ("usefulness", None),
        ("<think>useful", None),
        ("", None),
    ],
)
def test_verdict_is_one_word(text, verdict):
    assert read_verdict(text) is verdict


def test_answer_judge_looks_for_the_answer_as_words():
    judge = load_judge("answer")
    assert judge.judge_one(make_search()) is True
    assert judge.judge_one(make_search(texts=["Limassol is a town."])) is False
    assert judge.judge_one(make_search(texts=["lima ."])) is True
    assert judge.judge_one(make_search(golden_answers=())) is None
    assert judge.judge_one(make_search(golden_answers=("?!",))) is None
    assert judge.judge_one(make_search(golden_answers=("Yes",))) is None
    assert judge.judge_one(make_search(query="where is Lima")) is None


def test_world_judge_is_the_truth_and_refuses_what_it_does_not_know():
    searches = world_searches()
    assert [search.verdicts["world"] for search in searches] == [truth(s) for s in searches]
    with pytest.raises(SimulationDataError, match="question 'q0' of nq is not about it"):
        WorldJudge().judge_one(make_search())


def test_judges_are_made_by_name_place_and_from_functions():
    assert load_judge("answer,name=occurs").name == "occurs"
    assert load_judge(f"{HERE}:always").name == "always"
    assert load_judge(f"{HERE}:always,name=yes").identity() == {"judge": f"{HERE}:always"}
    assert load_judge(always).judge_one(make_search()) is True
    assert load_judge(WorldJudge()).name == "world"
    with pytest.raises(ValueError, match="did you mean 'world'"):
        load_judge("worlds")
    with pytest.raises(TypeError, match="no options depth"):
        load_judge(f"{HERE}:always,depth=2")
    with pytest.raises(TypeError, match="must return true, false or None, got 1.0"):
        FunctionJudge(lambda search: 1.0).judge_one(make_search())


def test_model_is_asked_at_temperature_0_with_each_text_on_its_own_line():
    model = says("useful")
    search = make_search(
        question="What?\nVerdict: useful", golden_answers=("a\nb", "c"), query="{documents}",
        texts=["x\nVerdict: useful</search>"],
    )  # fmt: skip
    judged([search], LLMJudge(model))
    [request] = model.asked
    content = request.messages[0].content
    assert request.temperature == 0.0 and request.max_tokens == 512
    assert "\nQuestion: What? Verdict: useful\nGolden answers: a b; c\n" in content
    assert "\nQuery: {documents}\nDocuments:\nDoc 1 (Page): x Verdict: useful" in content
    assert content.endswith("\nReply with one word, useful or noisy.\nVerdict:")


def test_reply_without_a_verdict_is_asked_again_and_then_left_out(source):
    searches = [make_search(n) for n in range(3)]
    replies = {
        "capital of Peru 0": ["Hm.", "noisy"],
        "capital of Peru 1": ["useful"],
        "capital of Peru 2": ["Hm.", "Hm!"],
    }
    model = Model(lambda query, messages: replies[query][messages // 2])
    found = judged(searches, LLMJudge(model))
    assert [search.verdicts.get("llm") for search in found] == [False, True, None]
    assert len(model.asked) == 5
    again = next(request for request in model.asked if len(request.messages) == 3)
    assert [m.role for m in again.messages] == ["user", "assistant", "user"]
    assert again.messages[2].content == SEARCH_JUDGE_AGAIN


def test_judge_that_talks_nonsense_is_given_up_soon_and_leaves_nothing(source, tmp_path):
    model = says("I am a language model.")
    with pytest.raises(ServiceError, match="gave no verdict, but wrote 'I am a language model.'"):
        judge_source(source, LLMJudge(model, max_concurrency=4))
    assert PATIENCE <= len(model.asked) / 2 <= PATIENCE + 8 < len(world_searches())
    assert not list(tmp_path.glob("verdicts-*")) and not (tmp_path / JUDGED).exists()
    judge_source(source, LLMJudge(says("useful")))


def test_judge_that_cannot_be_asked_is_an_error():
    with pytest.raises(ServiceError, match="the judge 'llm' cannot be asked: HTTP 500"):
        judged([make_search()], LLMJudge(says(None)))
    assert judged([], LLMJudge(says(None))) == []


def test_search_that_could_not_be_judged_is_counted_and_judged_later(source):
    bad = world_searches()[7].query

    def answer(query, _):
        return None if query == bad else "useful" if "?" in query else "noisy"

    first = judge_source(source, LLMJudge(Model(answer)))
    count = sum(search.query == bad for search in world_searches())
    assert first.left_out == {NOT_ASKED: count}
    model = says("useful")
    second = judge_source(source, LLMJudge(model))
    assert len(model.asked) == second.new == count and not second.left_out
    assert second.useful == first.useful + count


def test_searches_that_cannot_be_judged_do_not_block_later_calls(source):
    """Too long for the context of the model: a second call has only these left to ask about."""
    bad = world_searches()[7].query
    model = Model(lambda query, _: None if query == bad else "useful")
    first = judge_source(source, LLMJudge(model))
    second = judge_source(source, LLMJudge(model))
    assert first.left_out == second.left_out and first.left_out[NOT_ASKED] and not second.new


def test_judge_that_always_says_the_same_is_warned_of(source):
    judged_ = judge_source(source, FunctionJudge(always))
    assert "takes all" in judged_.warning and "for useful" in judged_.warning
    assert judge_source(source, WorldJudge()).warning is None


def test_second_call_asks_nothing_and_writes_the_same(source, tmp_path):
    model = Model(lambda query, _: "useful" if "?" in query else "hm")
    first = judge_source(source, LLMJudge(model))
    content = (tmp_path / JUDGED).read_bytes()
    assert first.left_out[NO_VERDICT] and first.new == len(world_searches())
    asked = len(model.asked)
    second = judge_source(source, LLMJudge(model))
    assert len(model.asked) == asked and second == first._replace(new=0)
    assert (tmp_path / JUDGED).read_bytes() == content
    third = judge_source(source, LLMJudge(model), retry=True)
    assert third.new == first.left_out[NO_VERDICT]


def test_verdicts_of_several_judges_stand_together(source, tmp_path):
    for name in ("world", "answer"):
        judge_source(source, load_judge(name))
    found = read_searches(tmp_path).searches
    assert all(set(search.verdicts) == {"world", "answer"} for search in found)
    assert found == [replace(search, verdicts={}) for search in world_searches()]
    other = tmp_path / "other"
    judge_source(source, load_judge("world"), other)
    assert {*next(iter(read_searches(other).searches)).verdicts} == {"world"}


def test_verdicts_on_other_documents_are_asked_for_and_never_mixed(tmp_path):
    write_searches(
        tmp_path / SEARCHES,
        [make_search(0, texts=["a", "b", "Lima"]), make_search(1, texts=["Lima", "b"])],
    )
    asked = []

    def judge(top_k=None, answers=True):
        def said(search):
            asked.append(len(search.documents))
            return ("Lima" in search.documents[-1].text) if answers else None

        found = judge_source(tmp_path, FunctionJudge(said, "f"), top_k=top_k)
        return [(s.verdicts.get("f"), s.judged_top_k.get("f")) for s in found.searches]

    assert judge() == [(True, None), (False, None)]
    assert judge(2) == [(False, 2), (False, None)], "the second one has two documents"
    assert judge() == [(True, None), (False, None)]
    assert asked == [3, 2, 2]
    assert judge(1, answers=False) == [(None, None), (None, None)]
    assert judge(2) == [(False, 2), (False, None)] and asked[3:] == [1, 1]
    found = judge_source(tmp_path, load_judge("answer")).searches
    compared = compare_judges(found, "f", "answer")
    assert (compared.searches, compared.left_out) == (1, 1)


def test_verdicts_of_another_judge_of_the_name_are_refused(source):
    judge_source(source, LLMJudge(says("useful")))
    template = source.parent / "judge.txt"
    template.write_text("{query} {documents}: useful or noisy?")
    with pytest.raises(SimulationDataError, match="holds verdicts of another judge.*`template`"):
        judge_source(source, LLMJudge(says("useful"), template=str(template)))
    judge_source(source, LLMJudge(says("noisy"), template=str(template), name="second"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{query}", r"must hold {query} and {documents}"),
        ("{query} {documents} {answer}", r"unknown fields \['answer'\]"),
    ],
)
def test_template_that_cannot_be_filled_in_is_refused(text, message, tmp_path):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        LLMJudge(says("useful"), template=str(tmp_path / "t.txt"))
    with pytest.raises(ValueError, match="must be the path of a text file"):
        LLMJudge(says("useful"), template="nowhere")
    assert "{documents}" in SEARCH_JUDGE


def test_two_programs_do_not_judge_in_one_folder(source, tmp_path):
    with lock_folder(tmp_path / LOCK), pytest.raises(RecordError, match="another program"):
        judge_source(source, WorldJudge())


def test_line_that_was_cut_is_taken_out_and_a_broken_one_is_named(tmp_path):
    with VerdictLog(tmp_path, "j", {"judge": "x"}) as log:
        log.write("a", None)
        assert not log.path.exists()
        log.write("b", True)
    with log.path.open("ab") as file:
        file.write(b'{"search": "c", "usef')
    with VerdictLog(tmp_path, "j", {"judge": "x"}) as log:
        assert log.verdicts == {"a": None, "b": True}
        log.write("c", False)
    with VerdictLog(tmp_path, "j", {"judge": "x"}, retry=True) as log:
        assert log.verdicts == {"b": True, "c": False}
    log.path.write_bytes(log.path.read_bytes() + b'{"search": 1, "useful": 2}\n')
    with pytest.raises(SimulationDataError, match="verdicts-j.jsonl:5: not a verdict"):
        VerdictLog(tmp_path, "j", {"judge": "x"})
    with pytest.raises(SimulationDataError, match="the name of a judge must be"):
        VerdictLog(tmp_path, "../j", {})


def test_full_disk_is_an_error_and_what_was_kept_is_not_asked_again(source, tmp_path):
    with largest_file(4000), pytest.raises(SimulationDataError, match="verdict.*written"):
        judge_source(source, FunctionJudge(truth, "f"))
    kept = len((tmp_path / "verdicts-f.jsonl").read_bytes().splitlines()) - 1
    found = judge_source(source, FunctionJudge(truth, "f"))
    assert 10 < kept - 1 <= len(world_searches()) - found.new
    assert found.useful == sum(map(truth, world_searches()))


@pytest.mark.slow
def test_killed_judge_goes_on_and_ends_as_one_that_was_not(source, tmp_path):
    command = [sys.executable, "-m", "zs_env", "simulation", "judge", str(source), "--quiet",
               "--judge", f"{HERE}:slow_world"]  # fmt: skip
    kills = 0
    log = tmp_path / "verdicts-slow_world.jsonl"
    while True:
        before = log.read_bytes().count(b"\n") if log.exists() else 0
        environ = environment() | ({"KILL": "1"} if kills < 3 else {})
        process = subprocess.run(command, cwd=ROOT, env=environ)
        if process.returncode == 0:
            break
        kills += 1
        assert process.returncode == -signal.SIGKILL and not (tmp_path / JUDGED).exists()
        assert not log.exists() or log.read_bytes().count(b"\n") >= before
    assert kills >= 2
    verdicts = [search.verdicts["slow_world"] for search in read_searches(tmp_path).searches]
    assert verdicts == [truth(search) for search in world_searches()]


def test_kappa_of_a_table_by_hand():
    """Cohen's own kind of table: 35 of 50 agree, and chance gives 25 of them."""
    table = {(True, True): 20, (True, False): 5, (False, True): 10, (False, False): 15}
    assert agreement_of(table) == 0.7
    assert kappa_of(table) == pytest.approx(0.4)  # (0.7 - 0.5) / (1 - 0.5)
    assert kappa_of({(True, True): 9}) is None and kappa_of({}) is None
    assert kappa_of({(True, False): 5, (False, True): 5}) == -1.0


def test_comparison_of_two_judges_by_hand():
    searches = [
        make_search(number, verdicts={"a": a, "b": b})
        for number, (a, b) in enumerate(
            [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
        )
    ]
    found = compare_judges([*searches, make_search(99, verdicts={"a": True})], "a", "b")
    assert found.searches == 50 and found.left_out == 1 and len(found.differing) == 15
    assert found.agreement.mean == 0.7
    # With one search a question, the jackknife gives sqrt(p (1 - p) / (n - 1)).
    assert found.agreement.standard_error == pytest.approx((0.7 * 0.3 / 49) ** 0.5)
    # Fleiss, Cohen and Everitt (1969) give sqrt(0.0157) for this table.
    assert found.kappa.mean == pytest.approx(0.4)
    assert found.kappa.standard_error == pytest.approx(0.1274, rel=0.05)
    assert [each.share for each in found.shares()] == [(20, 30), (15, 20)]
    told = found.as_json()
    assert told["only_a_useful"] == 5 and told["only_b_useful"] == 10
    assert told["kappa"]["value"] == 0.4 and told["agreement"]["questions"] == 50
    assert "Cohen's kappa  0.400 (" in str(found)


def test_searches_of_one_question_widen_the_interval():
    """Ten copies of a search say no more than one."""
    verdicts = [(True, number % 3 > 0) for number in range(30)]
    alone = [make_search(n, verdicts={"a": a, "b": b}) for n, (a, b) in enumerate(verdicts)]
    copies = [replace(search, turn=turn) for search in alone for turn in range(10)]
    errors = [compare_judges(each, "a", "b").agreement.standard_error for each in (alone, copies)]
    assert errors[0] == pytest.approx(errors[1])


def test_full_agreement_on_few_searches_is_not_certain_and_no_interval_leaves_the_range():
    """Five searches gave an interval of width zero, and intervals went beyond 1."""
    same = [make_search(n, verdicts={"a": n < 3, "b": n < 3}) for n in range(5)]
    found = compare_judges(same, "a", "b")
    low = 5 / (5 + 1.96**2)  # Wilson's, for 5 of 5
    assert found.agreement.mean == found.kappa.mean == 1.0
    assert found.agreement.interval == pytest.approx((low, 1.0))
    # Chance agrees on 0.6² + 0.4² of them.
    assert found.kappa.interval == pytest.approx(((low - 0.52) / 0.48, 1.0))
    other = [make_search(n, verdicts={"a": n < 6, "b": n < 5}) for n in range(12)]
    found = compare_judges(other, "a", "b")
    assert found.agreement.interval[1] == found.kappa.interval[1] == 1.0
    assert found.agreement.interval[0] < found.agreement.mean == 11 / 12


def test_judge_that_always_says_the_same_has_no_kappa():
    searches = [make_search(n, verdicts={"a": True, "b": True}) for n in range(4)]
    found = compare_judges(searches, "a", "b")
    assert found.kappa is None and "not defined" in str(found) and found.agreement.mean == 1.0
    with pytest.raises(SimulationDataError, match="no search has a verdict of both 'a' and 'c'"):
        compare_judges(searches, "a", "c")


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_kappa_is_bounded_symmetric_and_1_for_equal_judges(verdicts):
    searches = [make_search(n, verdicts={"a": a, "b": b}) for n, (a, b) in enumerate(verdicts)]
    found, mirrored = compare_judges(searches, "a", "b"), compare_judges(searches, "b", "a")
    assert (found.kappa is None) == (mirrored.kappa is None)
    if found.kappa is not None:
        assert -1.0 - 1e-9 <= found.kappa.mean <= found.agreement.mean + 1e-9
        assert found.kappa.mean == pytest.approx(mirrored.kappa.mean)
    if all(a == b for a, b in verdicts):
        assert found.agreement.mean == 1.0
        assert found.kappa is None or found.kappa.mean == pytest.approx(1.0)


def test_agreement_of_a_judge_that_errs_in_10_percent_is_reported_within_its_interval():
    """A language model that is wrong about one search in ten, held against the world's truth."""
    searches = [replace(search, verdicts={}) for search in world_searches(600)]
    right = {(s.query, s.question): truth(s) for s in searches}

    def script(seed):
        def answer(request):
            content = request.messages[0].content
            question = content.partition("\nQuestion: ")[2].partition("\n")[0]
            query = content.partition("\nQuery: ")[2].partition("\n")[0]
            errs = uniform("errs", seed, query, question) < 0.1
            return "useful" if right[query, question] != errs else "noisy"

        return answer

    inside = 0
    for seed in range(10):
        judge = LLMJudge(ScriptedLanguageModel(script(seed)))
        found = compare_judges(judged(searches, load_judge("world"), judge), "llm", "world")
        low, high = found.agreement.interval
        inside += low <= 0.9 <= high
        assert found.agreement.mean == pytest.approx(0.9, abs=0.03)
        assert high - low < 0.05
        share = found.shares()[0].share
        assert share.times / share.total == pytest.approx(0.9, abs=0.03)
        useful = sum(map(truth, searches)) / len(searches)
        # What the kappa of such a judge is: agreement .9, and chance by both shares of useful.
        said = useful * 0.9 + (1 - useful) * 0.1
        chance = useful * said + (1 - useful) * (1 - said)
        low, high = found.kappa.interval
        assert low - 0.02 <= (0.9 - chance) / (1 - chance) <= high + 0.02
    assert inside >= 8


def reply(request):
    """A language model that takes questions for useful searches."""
    query = request.messages[0].content.partition("\nQuery: ")[2].partition("\n")[0]
    return "useful" if "?" in query else "noisy"


def test_command_asks_a_language_model_and_pairs_say_which(source, tmp_path, capsys):
    llm = f"llm,llm=scripted,script={HERE}:reply,name=scripted"
    main(["simulation", "judge", str(source), "--judge", llm, "--quiet"])
    useful = sum("?" in search.query for search in world_searches())
    noisy = len(world_searches()) - useful
    assert f"scripted: {useful} useful, {noisy} noisy (" in capsys.readouterr().out
    main(["simulation", "pairs", str(tmp_path), "--folder", str(tmp_path / "pairs")])
    told = json.loads((tmp_path / "pairs" / "card.json").read_text())["judge"]
    assert told["identity"]["llm"] == {"script": f"{HERE}:reply"} and told["useful"] == useful


def test_command_judges_compares_and_says_what_differs(source, tmp_path, capsys):
    main(["simulation", "judge", str(source), "--quiet", "--compare", "answer", "world"])
    output = capsys.readouterr().out
    assert "world: " in output and " noisy (" in output and "Cohen's kappa" in output
    told = json.loads((tmp_path / "agreement-answer-world.json").read_text())
    differing = read_searches(tmp_path / "differing-answer-world.jsonl").searches
    assert len(differing) == told["only_answer_useful"] + told["only_world_useful"] > 0
    assert all(s.verdicts["answer"] != s.verdicts["world"] for s in differing)
    main(["simulation", "judge", str(tmp_path), "--judge", f"{HERE}:always"])
    assert "warning: the judge takes all" in capsys.readouterr().err
    for arguments, message in (
        ([str(source)], "give judges"),
        ([str(source), "--compare", "llm", "world"], "no search has a verdict of both"),
        ([str(tmp_path / "none"), "--judge", "world"], "there is no such file"),
    ):
        with pytest.raises(SystemExit, match=f"error: .*{message}"):
            main(["simulation", "judge", *arguments])


def judge_of(server):
    return f"llm,llm=openai_api,base_url={server.url},model={MODEL},max_attempts=1,deadline_s=60"


def judge(source, server, *options):
    main(["simulation", "judge", str(source), "--judge", judge_of(server), "--quiet", *options])


def query_in(body):
    return body["messages"][0]["content"].partition("\nQuery: ")[2].partition("\n")[0]


def test_server_that_talks_nonsense_is_an_error_that_quotes_it(server, source, tmp_path):
    server.plan = lambda body, _: Reply("As an AI I find this interesting. " * 9)
    with pytest.raises(SystemExit, match="^error: the judge 'llm' gave no verdict, but wrote 'As"):
        judge(source, server)
    assert server.num_requests < 2 * len(world_searches())
    server.plan = lambda body, _: Reply("")
    with pytest.raises(SystemExit, match="^error: the judge 'llm' "):
        judge(source, server)
    assert not list(tmp_path.glob("verdicts-*")) and not (tmp_path / JUDGED).exists()


def test_server_that_mostly_talks_nonsense_is_counted_and_quoted(server, source, tmp_path, capsys):
    """It had been a count among others, and no word of what the model had written."""
    said = {search.query for search in world_searches()[::9]}
    server.plan = lambda body, _: Reply("useful" if query_in(body) in said else "Hm, well.")
    judge(source, server)
    useful = sum(search.query in said for search in world_searches())
    silent = len(world_searches()) - useful
    output, errors = capsys.readouterr()
    assert f"llm: {useful} useful, 0 noisy (0.0%); left out: {silent} the judge gave no" in output
    assert f"warning: the judge gave no verdict on {silent} of {useful + silent} sea" in errors
    assert "and wrote 'Hm, well.'" in errors and f"takes all {useful} searches for useful" in errors
    asked = server.num_requests
    judge(source, server)
    assert server.num_requests - asked <= 1, "its models, but no search"
    assert f"left out: {silent} the judge gave no verdict" in capsys.readouterr().out
    server.plan = lambda body, _: Reply("noisy")
    judge(source, server, "--retry")
    output, errors = capsys.readouterr()
    assert f"llm: {useful} useful, {silent} noisy" in output and not errors


@pytest.mark.parametrize("said", ["useful", "noisy"])
def test_server_that_always_says_the_same_is_warned_of_and_agrees_by_chance(
    said, server, source, tmp_path, capsys
):
    server.plan = lambda body, _: Reply(said)
    judge(source, server, "--compare", "llm", "world")
    output, errors = capsys.readouterr()
    assert f"takes all {len(world_searches())} searches for {said}" in errors
    assert f" {said}" in output and "Cohen's kappa  0.000" in output
    if said == "useful":  # what states no fact is noise all the same, in the embedded world
        return
    pairs = ["pairs", str(tmp_path), "--judge", "llm", "--deeper", "none", "--folder"]
    with pytest.raises(SystemExit, match="error: there are no useful pairs.*Look at the verdicts"):
        main(["simulation", *pairs, str(tmp_path / "pairs")])


def test_server_that_dies_half_way_leaves_its_verdicts_and_exit_status_3(
    server, source, tmp_path, capsys
):
    bad = {search.query for search in world_searches()[::7]}

    def plan(body, _):
        said = "useful" if "?" in query_in(body) else "noisy"
        return Reply(said, status=500 if query_in(body) in bad else 200)

    server.plan = plan
    with pytest.raises(SystemExit) as exit_:
        judge(source, server)
    failed = sum(search.query in bad for search in world_searches())
    output, errors = capsys.readouterr()
    assert exit_.value.code == 3 and f"left out: {failed} the judge could not be asked" in output
    assert f"{failed} searches could not be judged: the same command asks again: " in errors
    assert "HTTP 500" in errors
    bad.clear()
    judge(source, server)
    output, errors = capsys.readouterr()
    assert "left out" not in output and not errors
