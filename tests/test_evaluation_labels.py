"""Names in records: no secret of a URL gets into them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.chat_server import MODEL, Reply
from zs_env import Question
from zs_env.evaluation.labels import label_of
from zs_env.evaluation.run import Plan, evaluate

SECRET = "s3cret-of-the-user"


@pytest.mark.parametrize(
    ("thing", "label"),
    [
        ("bm25,corpus=p.jsonl,k=3", "bm25,corpus=p.jsonl,k=3"),
        ({"name": "bm25", "corpus": "a,b.jsonl"}, "bm25,corpus=a,b.jsonl"),
        ('{"name": "x", "deep": {"a": [1, null, true]}}', 'x,deep={"a": [1, null, true]}'),
        (Path("q.jsonl"), "q.jsonl"),
        ("x,url=http://h:1/v1", "x,url=http://h:1/v1"),
        (f"x,url=http://h/?key={SECRET},n=2", "x,url=http://h/,n=2"),
        ({"name": "x", "url": f"HTTPS://h/?a=b,key={SECRET}", "n": 2}, "x,url=HTTPS://h/,n=2"),
        ({"name": "x", "url": f"http://h/?a='\"{SECRET}"}, "x,url=http://h/"),
        ({"name": "x", "urls": [f"http://h/?{SECRET}"]}, 'x,urls=["http://h/"]'),
        ({"name": "x", "in": {"url": f"http://h/?a,{SECRET}"}}, 'x,in={"url": "http://h/"}'),
        ({"name": "x", "what": "why?not"}, "x,what=why?not"),
        (Question("q", "?", ("x",)), "Question"),
        (label_of, "zs_env.evaluation.labels:label_of"),
        ([1], "list"),
    ],
)
def test_label(thing, label):
    assert label_of("engine", thing) == label


def answer(request):
    return "<search>a</search>" if "<search>" not in request.prefill else "<answer>7</answer>"


def test_no_file_of_a_run_holds_a_secret(server, tmp_path):
    """Nor does the text of a failure, in which a server repeats what it was asked."""
    status = [200]

    def plan(body, _):
        return Reply("Doc 1: page", status=status[0], body=None if status[0] == 200 else b"no")

    server.plan = plan
    for status[0], failed in ((200, False), (500, True)):
        folder = tmp_path / str(status[0])
        url = f"{server.url}?a=b&key={SECRET}"
        engine = {"name": "simulated", "base_url": url, "model": MODEL, "max_attempts": 1}
        plan_ = Plan(model=answer, questions=[[Question("q", "?", ("7",))]], engines=[engine])
        [record] = evaluate(plan_, folder, show_progress=False)
        assert record.failed == failed and "127.0.0.1" in record.engine
        for path in folder.iterdir():
            assert SECRET not in path.read_text(), path
