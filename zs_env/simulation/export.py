"""A folder of pairs in the forms that tuning programs read, and its card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.errors import SimulationDataError
from zs_env.files import replace_file
from zs_env.simulation.card import as_markdown
from zs_env.simulation.pair import CARD, HELD_OUT, PAGE, TRAIN, Pair, file_hash

README, DATASET_INFO = "README.md", "dataset_info.json"
SPLITS = (TRAIN, HELD_OUT)


def as_conversation(pair: Pair) -> dict[str, Any]:
    """Return a pair in the conversational form of TRL.

    TRL applies the chat template to it, as servers do to the chat that the engine sends, and learns
    the completion only.
    """
    return {
        "prompt": [{"role": "user", "content": pair.prompt}],
        "completion": [{"role": "assistant", "content": pair.completion}],
    }


def as_messages(pair: Pair) -> dict[str, Any]:
    """Return a pair as the messages of one chat."""
    form = as_conversation(pair)
    return {"messages": form["prompt"] + form["completion"]}


def as_alpaca(pair: Pair) -> dict[str, Any]:
    """Return a pair in the alpaca form."""
    return {"instruction": pair.prompt, "input": "", "output": pair.completion}


FORMS: dict[str, Callable[[Pair], dict[str, Any]]] = {
    "": Pair.as_json,
    "trl_": as_conversation,
    "chat_": as_messages,
    "alpaca_": as_alpaca,
}
"""Forms of a pair by the beginning of the file's name. Plain pages have only the first one."""


def write_pairs(folder: Path, pairs: Mapping[str, Sequence[Pair]], card: Mapping[str, Any]) -> Path:
    """Write ``pairs`` in all forms, and last the card, which says that the folder is whole.

    Args:
        folder: folder; it is made if there is none. One that holds pairs gets the new ones.
        pairs: pairs by split.
        card: what the card tells besides the hashes of the files.

    Returns:
        The path of the card.

    Raises:
        SimulationDataError: a file cannot be written, as on a full disk.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CARD).unlink(missing_ok=True)  # not whole until the end
        hashes = {}
        for split in SPLITS:
            for form, write in FORMS.items():
                shown = [each for each in pairs[split] if not form or each.label != PAGE]
                content = "".join(json.dumps(write(pair)) + "\n" for pair in shown).encode()
                name = f"{form}{split}.jsonl"
                replace_file(folder / name, content)
                hashes[name] = file_hash(content)
        replace_file(folder / DATASET_INFO, _json(dataset_info()))
        whole = {**card, "files": hashes}
        replace_file(folder / README, as_markdown(whole).encode())
        replace_file(folder / CARD, _json(whole))
    except OSError as error:
        raise SimulationDataError(
            f"{folder}: pairs cannot be written: {error}. What is there is not whole: free some "
            "space, and run the same command again."
        ) from error
    return folder / CARD


def dataset_info() -> dict[str, Any]:
    """Return how LLaMA-Factory finds the files in the alpaca form."""
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    return {
        f"simulation_{split}": {
            "file_name": f"alpaca_{split}.jsonl",
            "formatting": "alpaca",
            "columns": columns,
        }
        for split in SPLITS
    }


def _json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1) + "\n").encode()
