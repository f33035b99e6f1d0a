"""Examples to learn: pairs of a prompt and a completion, as files hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zs_env.errors import ZeroSearchError
from zs_env.files import check_file, read_jsonl
from zs_env.simulation import pair as simulation
from zs_env.simulation.pair import HELD_OUT, TRAIN

ASSISTANT = "assistant"


class PairsError(ZeroSearchError, ValueError):
    """Pairs cannot be read: a broken line, no completion, no pairs; or none of them can be used."""


@dataclass(frozen=True)
class Example:
    """A prompt and what is to be learned as its completion.

    Attributes:
        messages: prompt as messages of a chat, each with ``role`` and ``content``.
        completion: text to learn.
        label: ``useful``, ``noisy``, another one, or "" without any.
        golden_answers: golden answers, which the prompt may tell.
        stated: names that the documents give for what was asked, also on the way to a golden
            answer.
        place: file and line.
    """

    messages: tuple[Mapping[str, str], ...]
    completion: str
    label: str = ""
    golden_answers: tuple[str, ...] = ()
    stated: tuple[str, ...] = ()
    place: str = ""


def read_examples(path: Path, split: str = TRAIN) -> list[Example]:
    """Read examples from a folder of pairs, one of its files, or another file of JSON lines.

    A folder that `zs-env simulation pairs` wrote, and a file whose lines name the ``template`` of
    their prompts, are checked by `zs_env.simulation.pair.read_pairs`.

    Lines of other files have ``prompt`` and ``completion``, or ``messages``. Prompt and completion
    are texts, or messages of a chat. The last message of all is what is learned, and by the
    assistant. ``label``, ``golden_answers`` and ``stated`` are read where they are there
    (`zs_env.simulation.pair.Pair`); other keys are ignored.

    Args:
        path: file, or folder of pairs.
        split: ``train`` or ``held_out``, of a folder.

    Raises:
        PairsError: there is no such file, it holds no pairs, or a line is broken; the message names
            file and line.
        SimulationDataError: a folder is not whole or its file was changed, a line is broken or of
            another template, or there are not both useful and noisy pairs.
    """
    # A folder first: whether it is whole comes before what its lines hold.
    pairs = simulation.read_pairs(path, split=split) if path.is_dir() else None
    file = file_of(path, split)
    check_file(file, PairsError)
    lines = list(read_jsonl(file, PairsError))
    if pairs is None and any("template" in fields for _, fields in lines):
        pairs = simulation.read_pairs(file)
    if pairs is not None:
        return [_example(place, pair) for (place, _), pair in zip(lines, pairs, strict=True)]
    if not lines:
        raise PairsError(f"{path} holds no pairs: expected lines with `prompt` and `completion`.")
    return [_parse(place, fields) for place, fields in lines]


def file_of(path: Path, split: str) -> Path:
    """Return the file of ``split``, if ``path`` is a folder, or else ``path``."""
    return path / f"{split}.jsonl" if path.is_dir() else path


def held_out_of(data: Path, held_out: Path | None) -> Path | None:
    """Return where held-out pairs are: ``held_out``, or else in the folder ``data``, if it has any.

    Raises:
        SimulationDataError: the folder is not whole.
    """
    if held_out is not None or not data.is_dir():
        return held_out
    digest = simulation.read_card(data).get("files", {}).get(f"{HELD_OUT}.jsonl")
    return None if digest == simulation.file_hash(b"") else data


def _example(place: str, pair: simulation.Pair) -> Example:
    messages = ({"role": "user", "content": pair.prompt},)
    answers = pair.golden_answers, pair.stated
    return Example(messages, pair.completion, pair.label, *answers, place)


def _parse(place: str, fields: Mapping[str, Any]) -> Example:
    if "messages" in fields:
        messages, completion = _split_chat(place, fields["messages"])
    elif isinstance(fields.get("prompt"), list) and isinstance(fields.get("completion"), list):
        messages, completion = _split_chat(place, fields["prompt"] + fields["completion"])
    else:
        messages = ({"role": "user", "content": _text(place, fields, "prompt")},)
        completion = _text(place, fields, "completion")
    if not completion.strip():
        raise PairsError(f"{place}: the completion is empty, so there is nothing to learn.")
    label = fields.get("label") or ""
    if not isinstance(label, str):
        raise PairsError(f"{place}: `label` must be a text, got {label!r}.")
    answers = {name: fields.get(name) or () for name in ("golden_answers", "stated")}
    for name, texts in answers.items():
        if not _are_texts(texts):
            raise PairsError(f"{place}: `{name}` must be a list of texts.")
    golden_answers, stated = map(tuple, answers.values())
    return Example(messages, completion, label, golden_answers, stated, place)


def _split_chat(place: str, messages: Any) -> tuple[tuple[Mapping[str, str], ...], str]:
    if not isinstance(messages, list) or not all(
        isinstance(m, dict) and _are_texts([m.get("role"), m.get("content")]) for m in messages
    ):
        raise PairsError(f"{place}: `messages` must be a list of objects with role and content.")
    if len(messages) < 2 or messages[-1]["role"] != ASSISTANT:
        raise PairsError(f"{place}: the last of two or more `messages` must be the assistant's.")
    return tuple(messages[:-1]), messages[-1]["content"]


def _text(place: str, fields: Mapping[str, Any], name: str) -> str:
    if not isinstance(fields.get(name), str):
        found = f"got {fields[name]!r}" if name in fields else f"found only {sorted(fields)}"
        raise PairsError(f"{place}: expected a text as `{name}`, {found}.")
    return str(fields[name])


def _are_texts(values: Any) -> bool:
    return (
        isinstance(values, Sequence)
        and not isinstance(values, str)
        and all(isinstance(value, str) for value in values)
    )
