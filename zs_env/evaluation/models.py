"""Models of the policy: by name, as the folder of a checkpoint, or as a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from zs_env.errors import RecordError
from zs_env.evaluation.options import PlayOptions
from zs_env.files import parse_line
from zs_env.llm import LLMS, ChatRequest, LanguageModel, load_llm
from zs_env.llm.scripted import ScriptedLanguageModel
from zs_env.loading import Spec, parse_spec
from zs_env.tokens.chat import PolicyPrompt

EPISODE = "episode.json"
"""File beside the weights of a checkpoint: the settings that it was trained with."""

QUESTIONS = "questions"
"""Name in it of the questions that the checkpoint is tested on."""

BASE = "base"
"""Name in it of the folder of the base model, for adapters that do not name it."""

MODEL_FILES = ("config.json", "adapter_config.json")

Model = Spec | LanguageModel | Callable[[ChatRequest], str]


def load_model(model: Model) -> LanguageModel:
    """Make the model that ``model`` names.

    Args:
        model: a name of `zs_env.llm.LLMS` or ``"module:Class"``, with options; the folder of a
            checkpoint or of any model of transformers, with options of ``transformers_local``; a
            `LanguageModel`; or a function from a `ChatRequest` to a text.

    Raises:
        ValueError: there is no such model.
        TypeError: an option is unknown.
    """
    if isinstance(model, LanguageModel):
        return model
    if not isinstance(model, str | Path | Mapping):
        return ScriptedLanguageModel(model)
    name, options = parse_spec("model", model)
    if name in LLMS or ":" in name:
        return load_llm(name, options)
    if not any((Path(name) / file).is_file() for file in MODEL_FILES):
        raise ValueError(
            f"`model` must be one of {', '.join(LLMS)}, the folder of a checkpoint or a model of "
            f"transformers, or 'module:Class', got {name!r}. A model of the hub is "
            f"'transformers_local,model={name}'."
        )
    base = _read(name)[1].get(BASE)
    if base is not None and "base" not in options:
        if not Path(base).is_dir():
            raise ValueError(
                f"the adapters in {name} are of the model in {base}, which is not there: give "
                f"'{name},base=FOLDER'."
            )
        options = {**options, "base": base}
    return load_llm("transformers_local", {"model": name, **options})


def trained_options(place: Model | None) -> dict[str, Any]:
    """Return the options that a checkpoint was trained with; none for what is no checkpoint.

    Args:
        place: folder of the checkpoint, or a file like its ``episode.json``.

    Raises:
        RecordError: the file is damaged.
    """
    path, options = _read(place)
    for other in (QUESTIONS, BASE):
        options.pop(other, None)
    known = {f.name for f in fields(PlayOptions)}
    if unknown := sorted(set(options) - known):
        raise RecordError(f"{path}: unknown options {', '.join(unknown)}.")
    if options.get("policy_prompt") is not None:
        try:
            options["policy_prompt"] = PolicyPrompt(**options["policy_prompt"])
        except TypeError as error:
            raise RecordError(f"{path}: `policy_prompt` is damaged: {error}.") from None
    return options


def questions_of_checkpoint(place: Model | None) -> str | None:
    """Return the questions that a checkpoint was tested on in training; None if it is none.

    Args:
        place: as for `trained_options`.

    Raises:
        RecordError: the file is damaged.
    """
    questions: str | None = _read(place)[1].get(QUESTIONS)
    return questions


def write_options(
    folder: Path, options: Mapping[str, Any], questions: str, base: str | None = None
) -> None:
    """Write what `trained_options`, `questions_of_checkpoint` and `load_model` read.

    Args:
        folder: folder of the checkpoint.
        options: fields of `PlayOptions`, JSON-able.
        questions: questions that it is tested on.
        base: folder of the model that its adapters are of, if they do not name it themselves.
    """
    others = {QUESTIONS: questions} if base is None else {QUESTIONS: questions, BASE: base}
    text = json.dumps({**options, **others}, indent=1)
    (folder / EPISODE).write_text(text)


def _read(place: Model | None) -> tuple[Path, dict[str, Any]]:
    """Return the file that holds the options, and its content; nothing of what is no checkpoint."""
    if not isinstance(place, str | Path | Mapping):
        return Path(), {}
    path = Path(parse_spec("model", place).name)
    path = path / EPISODE if path.is_dir() else path
    if path.suffix != ".json" or not path.is_file():
        return path, {}
    return path, parse_line(str(path), path.read_bytes(), RecordError)
