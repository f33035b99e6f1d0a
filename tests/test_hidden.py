"""Secrets among the options of engines, models and judges: nothing that is kept shows them."""

from __future__ import annotations

import json

import pytest

from benchmarks.chat_server import MODEL, Reply
from zs_env import Document, Question, SearchEngine, SearchResult
from zs_env.commands.main import main
from zs_env.evaluation.run import Plan
from zs_env.hidden import HIDDEN, is_secret, text_without_secrets, without_secrets
from zs_env.loading import parse_spec
from zs_env.report.pages import write_page
from zs_env.simulation.collect import collect
from zs_env.simulation.judges import SearchJudge

SECRET = "s3cret-of-the-user"
HERE = "tests.test_hidden"


class Paid(SearchEngine):
    """An engine that is given a key as an option, and fails on request."""

    honours_noise = False

    def __init__(self, api_key, headers=None):
        self.api_key = api_key
        self.headers = headers

    def search(self, requests):
        texts = ("Lima is the capital.", "b", "c", "d", "e", "f", "g")
        return [SearchResult(tuple(Document(text) for text in texts)) for _ in requests]

    def identity(self):
        return {"api_key": self.api_key, "headers": self.headers, "of": "2026"}


class Paying(SearchJudge):
    """A judge that is given a token as an option."""

    def __init__(self, token, name="paying"):
        self.name = name
        self._token = token

    def judge_one(self, search):
        return "0" in search.question_id

    def identity(self):
        return {"judge": f"{HERE}:Paying", "token": self._token}


@pytest.mark.parametrize(
    "name",
    "api_key apikey API-KEY key keys token access_token auth_tokens apiToken headers extra_headers "
    "password db_passwd client_secret secrets authorization credentials cookie pwd bearer".split(),
)
def test_name_of_a_secret(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    "api_key_env max_tokens tokens max_turn_tokens tokenizer monkey key_column author turkey "
    "document_words secretary password_file keyword".split(),
)
def test_name_of_none(name):
    assert not is_secret(name)


def test_values_are_hidden_wherever_they_stand():
    given = {
        "api_key": SECRET,
        "deep": [{"Authorization": f"Bearer {SECRET}", "n": 1}],
        "headers": {"X": SECRET, "y": [SECRET]},
        "engine": f"m:E,n=2,token={SECRET}",
        "text": f'{{"api-key": "{SECRET}", "n": 2}}',
        "url": f"https://user:{SECRET}@host:1/v1?key={SECRET}",
        "token": None,
        "words": "the key of the city: 3 = 2",
    }
    assert without_secrets(given) == {
        "api_key": HIDDEN,
        "deep": [{"Authorization": HIDDEN, "n": 1}],
        "headers": HIDDEN,
        "engine": f"m:E,n=2,token={HIDDEN}",
        "text": f'{{"api-key": {HIDDEN}',
        "url": "https://host:1/v1",
        "token": None,
        "words": "the key of the city: 3 = 2",
    }


@pytest.mark.parametrize(
    "spec",
    [
        f"m:E,api_key={SECRET},more",
        f"m:E,api_key=a,{SECRET}",
        f'm:E,headers={{"Authorization": "a", "B": "{SECRET}"}}',
        f"m:E,token={SECRET},n=1,n=2",
        f"m:E,url=http://h/?{SECRET},more",
    ],
)
def test_error_about_a_written_form_hides_them(spec):
    with pytest.raises(ValueError, match="m:E,") as error:
        parse_spec("engine", spec)
    assert SECRET not in str(error.value)
    assert text_without_secrets("m:E,k=3") == "m:E,k=3"


def plan(engine):
    questions = [Question(f"q{n}", f"Capital of Peru {n}?", ("Lima",)) for n in range(30)]
    return Plan(method="parts", questions=[questions], engines=[engine])


def everything_in(folder):
    return {path: path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "engine",
    [
        f"{HERE}:Paid,api_key={SECRET}",
        {"name": f"{HERE}:Paid", "api_key": SECRET, "headers": {"X": f"a,{SECRET}"}},
        f'{{"name": "{HERE}:Paid", "api_key": "{SECRET}"}}',
    ],
)
def test_no_file_of_the_chain_holds_them(engine, tmp_path, capsys):
    questions = tmp_path / "questions.jsonl"
    lines = [{"id": f"q{n}", "question": f"Peru {n}?", "answers": ["Lima"]} for n in range(30)]
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    searches, pairs = tmp_path / "searches", tmp_path / "pairs"
    written = engine if isinstance(engine, str) else json.dumps(engine)
    collecting = ["collect", "--method", "parts", "--questions", str(questions), "--engine"]
    main(["simulation", *collecting, written, "--top-k", "7", "--folder", str(searches)])
    judge = f"{HERE}:Paying,token={SECRET}"
    main(["simulation", "judge", str(searches), "--judge", judge, "--top-k", "2"])
    main(["simulation", "pairs", str(searches), "--top-k", "2", "--folder", str(pairs)])
    output = capsys.readouterr()
    for text in (*everything_in(searches).values(), *everything_in(pairs).values(), *output):
        assert SECRET not in text
    assert f"api_key={HIDDEN}" in (searches / "searches.jsonl").read_text()
    assert json.loads((pairs / "card.json").read_text())["judge"]["identity"]["token"] == HIDDEN


def test_key_among_the_fields_of_requests_is_in_no_record_and_no_failure(server, tmp_path):
    server.plan = lambda body, _: Reply(status=400, body=f"bad {body['api_key']}".encode())
    llm = {"name": "openai_api", "base_url": server.url, "model": MODEL, "max_attempts": 1}
    llm |= {"extra_body": {"api_key": SECRET, "user": "me"}}
    questions = [[Question("q", "?", ("7",))]]
    asked = Plan(method="rag", model=llm, questions=questions, engines=["world"])
    [record], _ = collect(asked, tmp_path, show_progress=False)
    assert record.failed and HIDDEN in record.failure
    assert not any(SECRET in text for text in everything_in(tmp_path).values())


def test_report_of_a_run_hides_them(tmp_path):
    page = write_page(tmp_path, [], [], {"engine": f"m:E,api_key={SECRET}", "group_size": 2})
    assert SECRET not in page.read_text() and '"group_size": 2' in page.read_text()
