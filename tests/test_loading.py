"""The written form of a thing with options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import EchoEngine
from zs_env import SearchEngine
from zs_env.loading import make_by_name, parse_spec


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        ("bm25", "bm25", {}),
        ("bm25,corpus=passages.jsonl", "bm25", {"corpus": "passages.jsonl"}),
        ("a,b=1,c=true,d=null,e=1.5", "a", {"b": 1, "c": True, "d": None, "e": 1.5}),
        ("a, b = x ", "a", {"b": "x"}),
        ("a,b=", "a", {"b": ""}),
        (
            "simulated,base_url=http://127.0.0.1:8000/v1?a=b,model=q/w",
            "simulated",
            {"base_url": "http://127.0.0.1:8000/v1?a=b", "model": "q/w"},
        ),
        ("my.module:Class,depth=3", "my.module:Class", {"depth": 3}),
        ({"name": "bm25", "corpus": "a,b.jsonl"}, "bm25", {"corpus": "a,b.jsonl"}),
        ('{"name": "x", "urls": ["a", "b"]}', "x", {"urls": ["a", "b"]}),
        (Path("a,b=c.jsonl"), "a,b=c.jsonl", {}),
    ],
)
def test_parse_spec_reads_name_and_options(spec, name, options):
    assert parse_spec("engine", spec) == (name, options)


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.integers() | st.booleans())
)
def test_parse_spec_text_mapping_and_json_say_the_same(options):
    options.pop("name", None)
    text = ",".join(["x", *(f"{name}={json.dumps(value)}" for name, value in options.items())])
    mapping = {"name": "x", **options}
    expected = ("x", options)
    assert parse_spec("engine", text) == expected
    assert parse_spec("engine", mapping) == expected
    assert parse_spec("engine", json.dumps(mapping)) == expected


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("bm25,corpus", ValueError, "must be written as name,option=value, got 'corpus'"),
        ("bm25,=x", ValueError, "must be written as name,option=value"),
        ("cached,folder=a,b", ValueError, "a value that holds a comma needs a mapping"),
        ("a,b=1,b=2", ValueError, "has the option 'b' twice"),
        ('{"name": "x"', ValueError, "begins with { but is not a JSON object"),
        ({"corpus": "x"}, TypeError, "must hold `name`.* got the keys 'corpus'"),
        ({"name": 3}, TypeError, "must hold `name`"),
        ({"name": "x", 3: 4}, TypeError, "options by name"),
    ],
)
def test_parse_spec_unreadable_is_refused(spec, error, message):
    with pytest.raises(error, match=message):
        parse_spec("engine", spec)


def make(named, options=None, known=None):
    return make_by_name("engine", named, options or {}, known or {"echo": HERE}, SearchEngine)


HERE = "tests.test_loading:make_echo"


def make_echo(loud=False):
    engine = EchoEngine()
    engine.loud = loud
    return engine


def test_make_by_name_what_is_written_comes_before_other_options():
    assert make("echo,loud=true").loud is True
    assert make("echo", {"loud": 1}).loud == 1
    assert make("echo,loud=2", {"loud": 1}).loud == 2
    assert make(f"{HERE},loud=3").loud == 3


@pytest.mark.parametrize(
    ("named", "error", "message"),
    [
        ("ehco", ValueError, r"got 'ehco' \(did you mean 'echo'\?\)"),
        ("echo,luod=1", TypeError, r"'luod' is unknown \(did you mean 'loud'\?\); .* some of loud"),
        (":", ValueError, "it must be written as module:Class"),
        ("tests.nowhere:Engine", ValueError, "there is no engine 'tests.nowhere:Engine'"),
        ("tests.helpers:Nothing", ValueError, "there is no engine 'tests.helpers:Nothing'"),
        ("json:JSONDecoder", TypeError, "made a JSONDecoder, not a SearchEngine"),
    ],
)
def test_make_by_name_wrong_name_or_option_is_refused(named, error, message):
    with pytest.raises(error, match=message):
        make(named)


def test_make_by_name_module_with_a_syntax_error_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="'broken_module:f' cannot be imported: invalid syntax"):
        make("broken_module:f")
