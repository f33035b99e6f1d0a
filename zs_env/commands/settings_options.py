"""Arguments of a command that are the settings of an environment."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from zs_env.settings import Settings, describe


def add_settings_arguments(
    parser: argparse.ArgumentParser, kind: type[Settings], **defaults: Any
) -> None:
    """Add an argument for each field of ``kind``; those not given are not set.

    Args:
        parser: parser to add to.
        kind: settings class.
        defaults: defaults to show where the command has others than ``kind``.
    """
    group = parser.add_argument_group("environment")
    documentation, types = describe(kind), get_type_hints(kind)
    for declared in fields(kind):
        name = declared.name
        default = defaults.get(name, declared.metadata.get("shown", declared.default))
        text = documentation[name].replace("%", "%%").replace("`", "")
        choices = _choices(types[name])
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=_text_or_file if name == "prompt_template" else type(declared.default),
            choices=choices,
            default=argparse.SUPPRESS,
            metavar=None if choices else type(declared.default).__name__.upper(),
            help=f"{text[0].lower()}{text[1:].rstrip('.')}. Default: {default}.",
        )


def given_settings(options: argparse.Namespace, kind: type[Settings]) -> dict[str, Any]:
    """Return the settings that were given, by name."""
    names = [declared.name for declared in fields(kind)]
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


def _choices(annotation: Any) -> tuple[str, ...] | None:
    """Return the values of a `Literal`, also of one in a union with what only Python can give."""
    for part in (annotation, *get_args(annotation)):
        if get_origin(part) is Literal:
            return get_args(part)
    return None


def _text_or_file(text: str) -> str:
    is_file = len(text) < 1000 and "\n" not in text and Path(text).is_file()
    return Path(text).read_text(encoding="utf-8") if is_file else text
