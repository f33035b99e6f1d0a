"""Models of evaluation by name and by folder, and what a checkpoint was trained with."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from zs_env.errors import RecordError
from zs_env.evaluation.models import (
    EPISODE,
    load_model,
    questions_of_checkpoint,
    trained_options,
    write_options,
)
from zs_env.evaluation.options import PlayOptions
from zs_env.evaluation.run import make_options
from zs_env.llm import LanguageModel
from zs_env.llm.scripted import ScriptedLanguageModel
from zs_env.tokens.chat import PolicyPrompt

PROMPT = PolicyPrompt("<s>{question}\n", chat=True)


def say(request):
    return "x"


@pytest.mark.parametrize(
    "model",
    [
        say,
        "scripted,script=tests.test_evaluation_models:say",
        {"name": "scripted", "script": "tests.test_evaluation_models:say"},
        "zs_env.llm.scripted:ScriptedLanguageModel,script=tests.test_evaluation_models:say",
    ],
)
def test_model_by_name_or_as_a_function(model):
    made = load_model(model)
    assert isinstance(made, ScriptedLanguageModel) and made.script is say
    assert load_model(made) is made


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("gpt", ValueError, "'gpt'. A model of the hub is 'transformers_local,model=gpt'"),
        ("scripted", TypeError, "missing a required argument: 'script'"),
        ("scripted,scrpt=x", TypeError, r"'scrpt' is unknown \(did you mean 'script'\?\)"),
        ("scripted,script", ValueError, "must be written as name,option=value"),
        ("no.module:Class", ValueError, "there is no llm 'no.module:Class'"),
        ("json:loads", TypeError, "missing"),
        ({"script": "x"}, TypeError, "must hold `name`"),
    ],
)
def test_model_that_there_is_not(model, error, message):
    with pytest.raises(error, match=message):
        load_model(model)


def test_folder_of_a_model_is_one_of_transformers(tmp_path):
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match="the folder of a checkpoint or a model"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    for model in (tmp_path, {"name": str(tmp_path), "max_batch_size": 3}):
        made = load_model(model)
        assert isinstance(made, LanguageModel) and made.model == str(tmp_path)
    assert made.max_batch_size == 3
    with pytest.raises(TypeError, match="'batch' is unknown"):
        load_model(f"{tmp_path},batch=3")


def test_trained_options_are_those_of_the_checkpoint(tmp_path):
    options = {"max_turns": 3, "top_k": 2, "policy_prompt": asdict(PROMPT)}
    write_options(tmp_path, options, "nq,sample=5")
    expected = {**options, "policy_prompt": PROMPT}
    for place in (tmp_path, str(tmp_path), f"{tmp_path},dtype=float32", tmp_path / EPISODE):
        assert trained_options(place) == expected
    for nothing in (None, say, "scripted", "transformers_local,model=x", tmp_path / "none.json"):
        assert trained_options(nothing) == {}
    assert (
        questions_of_checkpoint(tmp_path) == "nq,sample=5"
        and questions_of_checkpoint("scripted") is None
    )
    made = make_options(tmp_path, {"top_k": 4})
    assert made == PlayOptions(max_turns=3, top_k=4, policy_prompt=PROMPT)
    assert make_options("scripted", {}, tmp_path).max_turns == 3
    made = make_options(tmp_path, {"prompt_template": "{question}"})
    assert made.policy_prompt is None, "another prompt is not hidden by the trained one"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"episode.json: not a line of JSON"),
        ("[]", "expected a JSON object"),
        ("\xff", "not a line of JSON"),
        ('{"max_turn": 3, "b": 1}', "episode.json: unknown options b, max_turn"),
        ('{"policy_prompt": {"template": "x"}}', "episode.json: `policy_prompt` is damaged"),
        ('{"policy_prompt": {"template": "x", "chat": true, "y": 1}}', "is damaged"),
        ('{"policy_prompt": "x"}', "is damaged"),
    ],
)
def test_damaged_options_of_a_checkpoint(tmp_path, content, message):
    (tmp_path / EPISODE).write_bytes(content.encode("latin-1"))
    with pytest.raises(RecordError, match=message):
        trained_options(tmp_path)


def test_written_options_are_json(tmp_path):
    write_options(tmp_path, {"noise": 0.5}, "world", base="/models/base")
    written = json.loads((tmp_path / EPISODE).read_text())
    assert written == {"noise": 0.5, "questions": "world", "base": "/models/base"}
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="are of the model in /models/base, which is not there"):
        load_model(tmp_path)
    assert load_model(f"{tmp_path},base=elsewhere").base == "elsewhere"
