"""`zs-env ask`, `evaluate`, `results`, `compare`, `rescore` and `audit`, as a user calls them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.chat_server import MODEL, Reply
from tests.evaluation_records import make_failure, make_record, make_search
from tests.helpers import FixedEngine
from zs_env import SearchEngine, SearchFailure
from zs_env.commands.main import main
from zs_env.evaluation.methods.direct import Direct
from zs_env.evaluation.report import FILES
from zs_env.evaluation.store import RECORDS, RUN, read_records, write_run

ROOT = Path(__file__).parent.parent
HERE = "tests.test_evaluation_commands"
HOSTILE = "\x1b[2J\x9b31m\u202e\x07<answer>x</answer>|=1+1"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")
"""Characters that no terminal may get, line breaks and tabs aside."""

FAILING: set[str] = set()
"""Questions on which `Fails` fails, and `INTERRUPT`."""

INTERRUPT = "interrupt"


class Fails(SearchEngine):
    """Fails on the questions of `FAILING`; presses Ctrl-C if it holds `INTERRUPT`."""

    honours_noise = False

    async def asearch(self, request):
        if INTERRUPT in FAILING:
            FAILING.discard(INTERRUPT)  # once
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            await asyncio.sleep(60)
        if request.question in FAILING:
            raise SearchFailure(f"no server {HOSTILE}")
        return FixedEngine("A fact.").result

    def identity(self):
        return {}


class Killer(Direct):
    """Direct answers; ``process`` is killed before the fourth question."""

    process = None

    async def play(self, play):
        if self.process is not None and play.question.id == "q3":
            self.process.kill()
            self.process.wait()
        await super().play(play)


class Hostile(SearchEngine):
    honours_noise = False

    def search(self, requests):
        return [FixedEngine(HOSTILE).result for _ in requests]

    def identity(self):
        return {}


def policy(request):
    """Search once, then answer the number in the question, if it is odd."""
    if "<search>" not in request.prefill:
        return "<search>fact</search>"
    number = re.search(r"What is (\d+)", request.messages[0].content)[1]
    return f"<answer>{number if int(number) % 2 else 'no idea'}</answer>"


def hostile(request):
    if "<search>" not in request.prefill:
        return f"{HOSTILE.replace('answer', 'b')}\n\ttab<search>{HOSTILE[:20]}</search>"
    return f"<answer>{HOSTILE.replace('<answer>', '')}</answer>"


def length(prediction, golden_answers):
    return len(prediction)


def no_number(prediction, golden_answers):
    return float("nan")


class NoNumbers:
    name = "odd"

    def score(self, records):
        return [float("inf")] * len(records)


def write_questions(path, number=6):
    lines = [
        {"id": f"q{i}", "question": f"What is {i}?", "answers": [str(i)]} for i in range(number)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture(autouse=True)
def _interruptible():
    """Under a shell that runs tests in the background, SIGINT would be ignored."""
    FAILING.clear()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def questions(tmp_path):
    return write_questions(tmp_path / "questions.jsonl")


def evaluate(questions, *arguments, engine="empty", script="policy"):
    main(
        ["evaluate", "--quiet", "--questions", questions, "--engine", engine]
        + ["--model", f"scripted,script={HERE}:{script}", *map(str, arguments)]
    )


def exit_of(arguments):
    """The exit status or the message of a command that does not end well."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    if isinstance(caught.value.code, str):
        assert "\n" not in caught.value.code and not RAW.search(caught.value.code)
    return caught.value.code


def test_evaluate_prints_the_same_digits_on_every_call(questions, tmp_path, capsys):
    evaluate(questions, "--folder", tmp_path / "run")
    out = capsys.readouterr().out
    assert re.search(r"questions\.jsonl +empty +6 +1 +0 +0\.000 +0\.500 ± 0\.224 ", out)
    evaluate(questions, "--folder", tmp_path / "run")
    evaluate(questions, "--folder", tmp_path / "other", "--max-concurrency", 1)
    evaluate(questions)
    assert capsys.readouterr().out == out * 3
    for file in ("results.md", "results.csv", "results.json"):
        one, other = ((tmp_path / run / file).read_bytes() for run in ("run", "other"))
        assert one == other
    [scores, *_] = json.loads((tmp_path / "run" / "results.json").read_text())
    [row] = scores["rows"]
    assert row["questions"] == 6 and row["exact_match"]["mean"] == 0.5
    assert "| questions | repeats | failed |" in (tmp_path / "run" / "results.md").read_text()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run" / "results.csv").read_text())))
    assert rows[0]["exact_match"] == "0.5" and float(rows[0]["f1 standard error"]) > 0.2


def test_evaluate_solver_on_the_world_needs_no_model(tmp_path, capsys):
    arguments = ["evaluate", "--quiet", "--method", "solver", "--num-questions", "8"]
    main([*arguments, "--folder", str(tmp_path)])
    assert re.search(r"^world +world +8 +1 +0 +0\.000 +1\.000 ", capsys.readouterr().out, re.M)
    assert len(read_records(tmp_path)) == 8


def test_evaluate_says_by_its_status_that_questions_failed(questions, tmp_path, capsys):
    FAILING.update(("What is 2?", "What is 4?"))
    arguments = {"engine": f"{HERE}:Fails"}
    for _ in range(2):
        with pytest.raises(SystemExit) as caught:
            evaluate(questions, "--folder", tmp_path, **arguments)
        assert caught.value.code == 3
    out = capsys.readouterr().out
    assert re.search(r"Fails +6 +1 +2 +0\.333 +0\.750 ", out)
    FAILING.discard("What is 2?")
    with pytest.raises(SystemExit) as caught:
        evaluate(questions, "--folder", tmp_path, "--retry-failed", **arguments)
    assert caught.value.code == 3
    assert [r.question_id for r in read_records(tmp_path) if r.failed] == ["q4"]
    FAILING.clear()
    evaluate(questions, "--folder", tmp_path, "--retry-failed", **arguments)
    assert not any(record.failed for record in read_records(tmp_path))
    assert len(read_records(tmp_path)) == 6


def test_evaluate_keeps_a_failure_until_there_is_something_in_its_place(
    questions, tmp_path, capsys
):
    """A retry that could not even begin made the failures vanish from the results."""
    FAILING.add("What is 2?")
    engine = f"{HERE}:Fails"
    with pytest.raises(SystemExit):
        evaluate(questions, "--folder", tmp_path, engine=engine)
    FAILING.add(INTERRUPT)
    with pytest.raises(SystemExit, match="130"):
        evaluate(questions, "--folder", tmp_path, "--retry-failed", engine=engine)
    assert [record.question_id for record in read_records(tmp_path) if record.failed] == ["q2"]
    FAILING.clear()
    evaluate(questions, "--folder", tmp_path, "--retry-failed", engine=engine)
    assert not any(record.failed for record in read_records(tmp_path))


def test_evaluate_interrupted(questions, tmp_path):
    FAILING.add(INTERRUPT)
    with pytest.raises(SystemExit, match="130"):
        evaluate(questions, "--folder", tmp_path, "--max-concurrency", 1, engine=f"{HERE}:Fails")
    evaluate(questions, "--folder", tmp_path, engine=f"{HERE}:Fails")
    assert len(read_records(tmp_path)) == 6


def test_evaluate_refuses_other_options_with_the_difference(questions, tmp_path):
    evaluate(questions, "--folder", tmp_path)
    before = (tmp_path / RECORDS).read_bytes()
    base = ["evaluate", "--quiet", "--questions", questions, "--engine", "empty"]
    base += ["--model", f"scripted,script={HERE}:policy", "--folder", tmp_path]
    assert "`seed` was 0, now 1" in exit_of([*base, "--seed", 1])
    assert '`method` was "search", now "direct"' in exit_of([*base, "--method", "direct"])
    assert "`options.max_turns` was 5, now 3" in exit_of([*base, "--max-turns", 3])
    assert exit_of([*base, "--top-k", 2]).startswith(f"error: {tmp_path} holds a run with other")
    assert (tmp_path / RECORDS).read_bytes() == before


def test_evaluate_that_could_not_begin_leaves_nothing_that_refuses_the_next(
    questions, tmp_path, server
):
    """A wrong name of the model would have had to be given for ever."""
    server.plan = lambda body, _: Reply("<answer>7</answer>")
    base = ["evaluate", "--quiet", "--method", "direct", "--questions", questions]
    base += ["--folder", tmp_path, "--model"]
    message = exit_of([*base, f"openai_api,base_url={server.url},model=other"])
    assert f"has no model 'other', only '{MODEL}'" in message
    assert not (tmp_path / RUN).exists()
    main([*map(str, base), f"openai_api,base_url={server.url},model={MODEL}"])
    assert len(read_records(tmp_path)) == 6


SCRIPT = f"scripted,script={HERE}:policy"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--method", "serach"], "`method` must be one of .*did you mean 'search'"),
        (["evaluate", "--method", "solver", "--engine", "bm52"], "`engine` .*did you mean 'bm25'"),
        (["evaluate", "--method", "solver", "--questions", "hotpot"], "did you mean 'hotpotqa'"),
        (["evaluate"], "asks a language model: give `model`"),
        (["evaluate", "--model", "open_api"], "`model` must be one of openai_api, .*'open_api'"),
        (["evaluate", "--model", "scripted,script=tests:nothing"], "there is no script"),
        (["evaluate", "--model", SCRIPT + ",temprature=1"], "'temprature' is unknown"),
        (["evaluate", "--method", "solver", "--price-search", "-1"], "`search` must be at least 0"),
        (["evaluate", "--method", "solver", "--price-prompt", "nan"], "least 0, got nan"),
        (["evaluate", "--method", "solver", "--seed", "-1"], "`seed` must be at least 0"),
        (["evaluate", "--method", "solver", "--noise", "2"], "`noise` must be a number"),
        (["evaluate", "--method", "solver", "--max-turns", "1"], "`max_turns` must be at least 2"),
        (["evaluate", "--method", "solver", "--episode", "no"], "`episode` must be the folder"),
        (["evaluate", "--method", "solver", "--engine", "world", "world"], "played twice"),
        (["evaluate", "--model", SCRIPT, "--prompt-template", "none"], "question"),
        (["ask", "?", "--method", "serach"], "did you mean 'search'"),
        (["ask", "?"], "asks a language model"),
        (["ask", " ", "--method", "solver"], "is empty"),
        (["results", "nowhere"], "nowhere holds no records"),
        (["compare", "nowhere", "elsewhere"], "nowhere holds no records"),
        (["rescore", "nowhere", "--metric", "f2"], r"`metric` must be one of f1, .*'f2'"),
        (["rescore", "nowhere", "--metric", "f1"], "nowhere holds no records"),
        (["audit", "--questions", "world"], "give --questions with --engine or --against"),
        (["audit", "--questions", "word", "--engine", "bm25"], "did you mean 'world'"),
        (["audit", "--questions", "world,sample=2", "--engine", "bm24"], "did you mean 'bm25'"),
        (["audit", "--records", "nowhere"], "nowhere holds no records"),
    ],
)  # fmt: skip
def test_wrong_argument_is_one_line(arguments, message):
    quiet = ["--quiet"] if arguments[0] == "evaluate" else []
    found = exit_of([*arguments, *quiet])
    assert found.startswith("error: ") and re.search(message, found), found


@pytest.fixture
def run(tmp_path, questions):
    """A run of six questions, of which three are answered rightly."""
    evaluate(questions, "--folder", tmp_path / "run")
    return tmp_path / "run"


def test_results_in_each_format(run, capsys):
    capsys.readouterr()
    main(["results", str(run)])
    out = capsys.readouterr().out
    for name, file in FILES.items():
        main(["results", str(run), "--format", name])
        assert capsys.readouterr().out == (run / file).read_text()
    main(["results", str(run), "--price-search", "0.5", "--price-completion", "1000000"])
    priced = capsys.readouterr().out
    assert "cost" in priced and "cost" not in out
    written = sum(record.completion_tokens for record in read_records(run))
    assert re.search(rf" {written + 0.5 * 6:.2f}$", priced, re.M)


def test_results_of_a_damaged_record_are_one_line(run):
    path = run / RECORDS
    lines = path.read_bytes().splitlines(keepends=True)
    for old, new in (
        (b'"scores": {', b'"scores": null, "metadata": {'),
        (b'"golden_answers": [', b'"golden_answers": "x", "segments": ['),
        (b'"repeat": 0', b'"repeat": "0"'),
        (b'"answer": "', b'"answer": 5, "question": "'),
        (b'"turns": 2', b'"turns": true or'),
    ):
        assert old in lines[0]
        path.write_bytes(b"".join([lines[0].replace(old, new), *lines[1:]]))
        message = exit_of(["results", run])
        assert message.startswith(f"error: {path}:1: ") and "Run the evaluation again" in message


def test_compare_prints_and_refuses(run, questions, tmp_path, capsys):
    evaluate(questions, "--folder", tmp_path / "cot", "--method", "search", "--seed", 0)
    evaluate(questions, "--folder", tmp_path / "seed", "--seed", 1)
    evaluate(questions, "--folder", tmp_path / "engine", engine=f"{HERE}:Hostile")
    capsys.readouterr()
    main(["compare", str(run), str(tmp_path / "cot"), "--metric", "exact_match"])
    out = capsys.readouterr().out
    assert out.startswith(f"exact_match: against {run}\n")
    assert re.search(r"/cot +6 +0 +0\.500 +0\.500 +0\.000 ± 0\.000 ", out)
    assert "option seed is 0 in" in exit_of(["compare", run, tmp_path / "seed"])
    message = exit_of(["compare", run, tmp_path / "engine"])
    assert "the runs were not asked alike" in message and "option engines is" in message
    main(["compare", "--any-engine", "--format", "json", str(run), str(tmp_path / "engine")])
    tables = json.loads(capsys.readouterr().out)
    assert tables[0]["rows"][0]["engine"] == f"empty / {HERE}:Hostile"
    assert "two runs or more" in exit_of(["compare", run])
    assert "two runs or more" in exit_of(["compare", run, run])
    message = exit_of(["compare", run, tmp_path / "cot", "--metric", "exact_macth"])
    assert "did you mean 'exact_match'" in message


def test_rescore_by_a_function(run, capsys):
    records = read_records(run)
    capsys.readouterr()
    main(["rescore", str(run), "--metric", f"{HERE}:length", "squad_f1"])
    out = capsys.readouterr().out
    # Half of the answers are digits, the others "no idea".
    name = f"{HERE}:length"
    assert f"  {name}\n" in out and "  4.000 ± 1.342\n" in out
    assert [record.scores[name] for record in read_records(run)] == [7, 1, 7, 1, 7, 1]
    assert name in (run / "results.md").read_text()
    before = (run / RECORDS).read_bytes()
    for metric in ("no_number", "NoNumbers"):
        message = exit_of(["rescore", run, "--metric", f"{HERE}:{metric}"])
        assert "must return a finite number" in message
    assert (run / RECORDS).read_bytes() == before
    strip = [{**r.as_json(), "scores": None} for r in read_records(run)]
    assert strip == [{**r.as_json(), "scores": None} for r in records]


def test_rescore_by_a_judge(run, server, capsys):
    replies = {
        "1": Reply(" Yes."), "3": Reply("no"), "5": Reply("maybe"), "no idea": Reply("NO, never"),
    }  # fmt: skip

    def plan(body, _):
        [message] = body["messages"]
        assert body["temperature"] == 0
        return replies[re.search(r"^Answer: (.*)$", message["content"], re.M)[1]]

    server.plan = plan
    llm = f"judge,llm=openai_api,base_url={server.url},model={MODEL},max_attempts=1"
    main(["rescore", str(run), "--metric", llm])
    verdicts = [record.scores.get("judge") for record in read_records(run)]
    assert verdicts == [0.0, 1.0, 0.0, 0.0, 0.0, None]
    assert "judge unscored" in capsys.readouterr().out
    replies["1"] = Reply(status=500, body=HOSTILE.encode())
    main(["rescore", str(run), "--metric", llm])
    assert read_records(run)[1].scores.get("judge") is None, "an old verdict is not kept"
    assert read_records(run)[3].scores["judge"] == 0.0
    kept = (run / RECORDS).read_bytes()
    replies.update(dict.fromkeys(replies, Reply(status=500, body=HOSTILE.encode())))
    assert "the judge cannot be asked" in exit_of(["rescore", run, "--metric", llm])
    assert (run / RECORDS).read_bytes() == kept
    assert "argument: 'llm'" in exit_of(["rescore", run, "--metric", "judge"])


def test_ask_prints_the_transcript_and_the_scores(capsys):
    main(["ask", "What is 7?", "--model", SCRIPT, "--engine", "empty", "--answer", "seven"])
    out, err = capsys.readouterr()
    assert "What is 7?" in out and out.endswith("<answer>7</answer>\n")
    assert "<search>fact</search>\n<information>" in out
    assert err.startswith("answer: 7; answered; 2 turns, 1 searches, ")
    assert "f1 0.000" in err
    main(["ask", "What is 7?", "--model", SCRIPT, "--engine", "empty"])
    assert "f1" not in capsys.readouterr().err


def test_ask_with_the_solver(capsys):
    question = next(iter(load_world_questions()))
    arguments = ["ask", question.text, "--method", "solver", "--answer", question.golden_answers[0]]
    main(arguments)
    out, err = capsys.readouterr()
    assert "f1 1.000" in err
    main(arguments)
    assert capsys.readouterr().out == out


def load_world_questions():
    from zs_env.world import load_world

    return load_world().questions("test")


def test_ask_shows_no_terminal_what_moves_it(capsys):
    """Model output and documents reached the terminal as they were."""
    arguments = ["ask", f"What? {HOSTILE}", "--engine", f"{HERE}:Hostile", "--model"]
    main([*arguments, f"scripted,script={HERE}:hostile"])
    out, err = capsys.readouterr()
    assert not RAW.search(out) and not RAW.search(err)
    assert r"\x1b[2J\x9b31m\u202e\x07" in out and "\n\ttab<search>" in out
    assert r"answer: \x1b[2J\x9b31m\u202e\x07x; answered; 2 turns" in err
    FAILING.add("What is 7?")
    message = exit_of(["ask", "What is 7?", "--engine", f"{HERE}:Fails", "--model", SCRIPT])
    assert message.startswith(r"error: no server \x1b[2J")


def test_ask_interrupted():
    FAILING.add(INTERRUPT)
    assert exit_of(["ask", "What is 7?", "--model", SCRIPT, "--engine", f"{HERE}:Fails"]) == 130


def write_audited(tmp_path):
    """Questions and a corpus of four passages."""
    answers = [
        ["Lima"],  # in the corpus, found by the question
        ["the  Pale-Sea!"],  # case, punctuation and articles do not count: "palesea" stands there
        ["Rio de Janeiro"],  # words of one passage, one after the other
        ["Lima Peru"],  # both words, but not one after the other
        ["Cusco", "Ica"],  # the second one, only in the corpus
        ["Tokyo"],  # nowhere
        ["Rio"],  # only within a longer word
        ["yes"],
        ["No."],
    ]
    texts = ["capital of Peru", "sea", "host of 2016", "both", "zzz", "Japan", "yyy", "is it", "or"]
    lines = [
        {"id": f"q{i}", "question": f"{text}?", "answers": golden}
        for i, (text, golden) in enumerate(zip(texts, answers, strict=True))
    ]
    corpus = [
        {"text": "lima, yes, is the capital of Peru."},
        {"text": "It lies by the PALESEA, the sea."},
        {"text": "de Janeiro was host of 2016, no?", "title": "Rio"},
        {"text": "Ica; Marior."},
    ]
    for name, rows in (("questions", lines), ("corpus", corpus)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(tmp_path / "questions.jsonl"), str(tmp_path / "corpus.jsonl")


def test_audit_counts_answers_in_corpus_and_results(tmp_path, capsys):
    questions, corpus = write_audited(tmp_path)
    main(["audit", "--questions", questions, "--engine", f"bm25,corpus={corpus}", "--top-k", "1"])
    heading, everywhere, top = capsys.readouterr().out.splitlines()
    assert heading.endswith(": 7 questions (2 of yes or no are left out)")
    # q0, q1, q2, q4; and q6, since a title is a word of its passage.
    assert everywhere.startswith("  answer somewhere in 4 passages")
    assert everywhere.endswith("71% (36% – 92%), 5 of 7")
    assert top.startswith("  answer in the 1 documents for the question")
    assert top.endswith("43% (16% – 75%), 3 of 7")


def test_audit_of_records(tmp_path, capsys):
    found, other = make_search("LIMA!"), make_search("Lim a", "Limar")
    records = [
        make_record("q0", searches=(other, found)),
        make_record("q1", searches=(other,), repeat=0),
        make_record("q1", searches=(found,), repeat=1),
        make_record("q2", searches=(other,)),
        make_record("q3", golden_answers=("Yes",), searches=(make_search("yes"),)),
        make_failure("q4", searches=(other,)),
        make_record("q0", dataset=f"b{HOSTILE}"),
    ]
    write_run(tmp_path, {}, records)
    main(["audit", "--records", str(tmp_path)])
    out = capsys.readouterr().out
    assert not RAW.search(out.replace("\n", ""))
    lines = out.splitlines()
    assert len(lines) == 4 and lines[0].startswith(f"{tmp_path}: b\\x1b[2J")
    assert lines[1].endswith("0% (0% – 79%), 0 of 1")
    assert lines[2] == f"{tmp_path}: nq with bm25: 4 questions"
    assert lines[3].endswith("50% (15% – 85%), 2 of 4")


def test_audit_against_another_set(tmp_path, capsys):
    rows = {
        "test": ["Who wrote the big red book?", f"Which {HOSTILE} is it, then?", "When?", "Where?"],
        "train": ["who WROTE a big red book", f"Which {HOSTILE} is it, then now?", "Why?"],
    }
    paths = []
    for name, texts in rows.items():
        path = tmp_path / f"{name}.jsonl"
        lines = [{"question": text, "answers": ["x"]} for text in texts]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        paths.append(str(path))
    main(["audit", "--questions", paths[0], "--against", paths[1]])
    out = capsys.readouterr().out
    assert not RAW.search(out.replace("\n", ""))
    heading, exact, near, *examples = out.splitlines()
    assert heading == f"{paths[0]}: 4 questions, looked for in 3 of {paths[1]}"
    assert exact.endswith("25% (5% – 70%), 1 of 4") and near.endswith("25% (5% – 70%), 1 of 4")
    assert [example.split()[0] for example in examples] == ["nearly", "exactly:"]


def test_hostile_questions_documents_and_names_do_no_harm(tmp_path, capsys):
    """Tables, files and the terminal, whoever wrote what is in them."""
    path = tmp_path / "a|b\x1b[2J<answer>,x=1.jsonl".replace(",x=1", "")
    lines = [
        {"id": HOSTILE, "question": f"What is 1? {HOSTILE}", "answers": [HOSTILE, "x"]},
        {"id": "2", "question": "What is 2?", "answers": ["2"], "hops": HOSTILE},
        {"id": "3", "question": "What is 3?", "answers": ["\ud800"], "hops": 2},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = tmp_path / "run"
    arguments = ["--questions", str(path), "--engine", f"{HERE}:Hostile", "--folder", str(folder)]
    model = ["--model", f"scripted,script={HERE}:hostile"]
    main(["evaluate", *arguments, *model])
    out, err = capsys.readouterr()
    assert not RAW.search(out.replace("\n", "")) and not RAW.search(re.sub("[\n\r]", "", err))
    records = read_records(folder)
    assert len(records) == 3 and records[0].question_id in (HOSTILE, "2")
    assert not any(
        "<answer>" in text for r in records for s in r.searches for _, text in s.documents
    )
    for file in ("results.md", "results.csv", "results.json"):
        assert not RAW.search((folder / file).read_text().replace("\n", ""))
    main(["evaluate", *arguments, *model])
    assert capsys.readouterr().out == out
    assert read_records(folder) == records


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"id": "a", "question": "x?", "answers": ["y"]}] * 2, "two questions have the id 'a'"),
        ([{"question": "x?"}], "questions.jsonl:1: expected the fields"),
        ([{"question": "x?", "answers": []}], "no golden answer"),
        ([{"question": "x?", "answers": [3]}], "must be a string"),
        (["x"], "questions.jsonl:1: expected a JSON object"),
        ([], "there are no questions"),
    ],
)
def test_broken_questions_are_refused_before_anything_is_played(tmp_path, lines, message):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = tmp_path / "run"
    base = ["evaluate", "--quiet", "--method", "direct", "--model", SCRIPT, "--folder", folder]
    assert message in exit_of([*base, "--questions", path])
    assert not folder.exists()


def test_server_that_dies_in_the_middle(questions, tmp_path, monkeypatch):
    """What it had not answered is counted as failed, and asked of its successor."""
    server = [sys.executable, "-m", "benchmarks.chat_server", "--median-ms", "1", "--port"]
    with subprocess.Popen([*server, "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as first:
        url = first.stdout.readline().strip()
        port = re.search(r":(\d+)/", url)[1]
        model = f"openai_api,base_url={url},model={MODEL},max_attempts=1,timeout_s=5"
        again = ["evaluate", "--quiet", "--method", f"{HERE}:Killer", "--questions", questions]
        again += ["--folder", str(tmp_path), "--model", model, "--max-concurrency", "1"]
        again += ["--retry-failed"]
        monkeypatch.setattr(Killer, "process", first)
        assert exit_of(again) == 3
    failed = [record for record in read_records(tmp_path) if record.failed]
    assert [record.question_id for record in failed] == ["q3", "q4", "q5"]
    assert {record.termination for record in failed} == {"model_failed"}
    monkeypatch.setattr(Killer, "process", None)
    assert "can be reached" in exit_of(again)
    assert len([record for record in read_records(tmp_path) if record.failed]) == 3
    with subprocess.Popen([*server, port], cwd=ROOT, stdout=subprocess.PIPE, text=True) as second:
        second.stdout.readline()
        try:
            main(again)
        finally:
            second.kill()
    assert not [record for record in read_records(tmp_path) if record.failed]
    assert len(read_records(tmp_path)) == 6


def test_model_that_never_ends_a_turn(questions, tmp_path, server, capsys):
    """One whose every turn is cut answers nothing; one that hangs has failed."""
    server.plan = lambda body, _: Reply("so " * 50)
    model = f"openai_api,base_url={server.url},model={MODEL},max_attempts=1,timeout_s=0.3"
    base = ["evaluate", "--quiet", "--questions", questions, "--engine", "empty", "--model", model]
    main([*base, "--folder", str(tmp_path / "talks")])
    for record in read_records(tmp_path / "talks"):
        assert (record.termination, record.turns, record.invalid_turns) == ("turns_spent", 5, 5)
    server.plan = lambda body, _: Reply(hang=True)
    assert exit_of([*base, "--folder", tmp_path / "hangs"]) == 3
    assert {r.termination for r in read_records(tmp_path / "hangs")} == {"model_failed"}
