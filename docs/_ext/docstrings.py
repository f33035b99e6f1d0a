"""Prepares docstrings for autodoc, which reads reStructuredText: some of ours hold Markdown.

The specification of an environment has a page of its own, to which its class refers. Tables become
list tables, lists get a blank line before them, and what is indented in a module's docstring is
shown as it stands.
"""

from __future__ import annotations

import re
from typing import Any

import gymnasium
from sphinx.application import Sphinx

from zs_env.envs.registration import ENV_IDS
from zs_env.settings import Settings

BEFORE_NAPOLEON, AFTER_NAPOLEON = 400, 600
ROW = re.compile(r"(\s*)\|(.*)\|\s*$")
RULE = re.compile(r"\s*\|[\s|:-]+\|\s*$")
CODE = re.compile(r"(?<![`:])`([^`]+)`(?!`)")
NAME = re.compile(r"[A-Za-z_][\w.]*")

_prepared: dict[str, list[str]] = {}
"""The docstrings that Napoleon is given, by name."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the changes to autodoc's events."""
    app.connect("autodoc-process-docstring", prepare, priority=BEFORE_NAPOLEON)
    app.connect("autodoc-process-docstring", keep_attribute, priority=AFTER_NAPOLEON)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-skip-member", skip_field_of_named_tuple)
    return {"parallel_read_safe": True}


def prepare(
    app: Sphinx, what: str, name: str, documented: object, options: object, lines: list[str]
) -> None:
    """Turn the Markdown in the docstring ``lines`` of ``name`` into reStructuredText."""
    if what == "class" and (env_id := _environment_of(name)):
        lines[1:] = [
            "",
            f"Specified on :doc:`a page of its own </generated/environments/{env_id}>`.",
        ]
    if what == "module":
        lines[:] = _literal_blocks(lines)
    lines[:] = [CODE.sub(_code, line) for line in _list_tables(_spaced_lists(lines))]
    _prepared[name] = list(lines)


def keep_attribute(
    app: Sphinx, what: str, name: str, documented: object, options: object, lines: list[str]
) -> None:
    """Undo what Napoleon did to an attribute: it takes the words before a colon for a type."""
    prepared = _prepared.pop(name)
    if what == "attribute":
        lines[:] = prepared


def shorten_signature(
    app: Sphinx,
    what: str,
    name: str,
    documented: object,
    options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str, None] | None:
    """Leave out the signature of settings, whose fields are listed below it one by one."""
    is_settings = isinstance(documented, type) and issubclass(documented, Settings)
    return ("(**settings)", None) if is_settings else None


def skip_field_of_named_tuple(
    app: Sphinx, what: str, name: str, documented: object, skip: bool, options: object
) -> bool | None:
    """Leave out the fields of a named tuple, which its class documents."""
    return True if (documented.__doc__ or "").startswith("Alias for field number") else None


def _code(match: re.Match[str]) -> str:
    """Keep a name, which becomes a link, as it is; make a literal of anything else."""
    return match[0] if NAME.fullmatch(match[1]) else f"`{match[0]}`"


def _environment_of(name: str) -> str | None:
    for env_id in ENV_IDS:
        if gymnasium.spec(env_id).entry_point == ":".join(name.rsplit(".", 1)):
            return env_id
    return None


def _literal_blocks(lines: list[str]) -> list[str]:
    """Begin a literal block before each indented one."""
    result: list[str] = []
    for line in lines:
        indented = line.startswith("    ")
        inside = bool(result) and (result[-1].startswith("    ") or not result[-1])
        if indented and not (inside and _is_in_block(result)):
            result += ["::", ""]
        result.append(line)
    return result


def _is_in_block(lines: list[str]) -> bool:
    """Whether the last line that is not blank belongs to an indented block or begins one."""
    last = next((line for line in reversed(lines) if line.strip()), "")
    return last.startswith("    ") or last.endswith("::")


def _spaced_lists(lines: list[str]) -> list[str]:
    """Put a blank line between a paragraph and the list that follows it."""
    result: list[str] = []
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.lstrip().startswith("- ") and result:
            above = result[-1]
            is_paragraph = len(above) - len(above.lstrip()) == indent and above.strip()
            if is_paragraph and not above.lstrip().startswith("- "):
                result.append("")
        result.append(line)
    return result


def _list_tables(lines: list[str]) -> list[str]:
    """Replace each Markdown table by a list table."""
    result: list[str] = []
    in_table = False
    for line in lines:
        row = ROW.match(line)
        if row is None:
            in_table = False
            result.append(line)
        elif not RULE.match(line):
            indent, cells = row[1], [cell.strip() for cell in row[2].split("|")]
            if not in_table:
                result += [f"{indent}.. list-table::", f"{indent}   :header-rows: 1", ""]
            in_table = True
            for number, cell in enumerate(cells):
                bullet = "* -" if number == 0 else "  -"
                result.append(f"{indent}   {bullet} {cell}")
    return result
