"""Arguments of commands that have a model play questions."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from zs_env.evaluation.methods import METHODS
from zs_env.evaluation.options import DIALOGUES, PlayOptions
from zs_env.settings import ChatTemplate, describe

MODEL_HELP = (
    "model of the policy: the folder of a checkpoint or of any model of transformers; or "
    "openai_api, vllm_local, transformers_local or module:Class with options, as in "
    "openai_api,base_url=http://127.0.0.1:8000/v1,model=NAME"
)

CHOICES = {"dialogue": DIALOGUES, "chat_template": get_args(ChatTemplate)}

READERS: dict[str, Callable[[str], Any]] = {
    "noise": float,
    "temperature": float,
    "top_p": float,
    "prompt_template": lambda text: _text_or_file(text),
    "dialogue": str,
    "chat_template": str,
    "system_prompt": str,
    "chat_template_kwargs": json.loads,
}
"""Readers of the options that are no integers."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add method, model and the options of playing to ``parser``."""
    parser.add_argument(
        "--method",
        default="search",
        help=f"method: {', '.join(METHODS)}, or module:Class; default: %(default)s",
    )
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument(
        "--episode",
        metavar="FOLDER",
        help="checkpoint whose settings to use, for a model that is served from elsewhere",
    )
    group = parser.add_argument_group(
        "how questions are played", "by default as the checkpoint was trained"
    )
    documentation = describe(PlayOptions)
    for declared in fields(PlayOptions):
        name = declared.name
        if name == "policy_prompt":  # only a checkpoint has it
            continue
        text = documentation[name].replace("%", "%%").replace("`", "")
        shown = "" if name == "prompt_template" else f" Default: {declared.default}."
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=READERS.get(name, int),
            choices=CHOICES.get(name),
            default=argparse.SUPPRESS,
            metavar=None if name in CHOICES else _metavar(name),
            help=f"{text[0].lower()}{text[1:-1]}.{shown}",
        )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add to ``parser`` how many questions are played, and how."""
    parser.add_argument(
        "--num-questions", type=positive, help="most questions of each set; default: all"
    )
    parser.add_argument(
        "--max-concurrency",
        type=positive,
        default=256,
        help="most questions under way at the same time; default: %(default)s",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="ask again what failed in an earlier call"
    )
    parser.add_argument("--quiet", action="store_true", help="print no progress")


def given_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of playing that were given."""
    names = [declared.name for declared in fields(PlayOptions)]
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


def positive(text: str) -> int:
    """Read an integer of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _metavar(name: str) -> str:
    if name == "chat_template_kwargs":
        return "JSON"
    return "TEXT" if READERS.get(name, int) not in (int, float) else "N"


def _text_or_file(text: str) -> str:
    is_file = len(text) < 1000 and "\n" not in text and Path(text).is_file()
    return Path(text).read_text(encoding="utf-8") if is_file else text
