"""README and documentation: their code runs and prints what is shown, and what they name exists.

`make docs` checks the rest: links between pages, and names of modules, classes and functions.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
from itertools import dropwhile
from pathlib import Path
from typing import NamedTuple

import pytest

import zs_env
from zs_env.commands.main import main

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
FILE = re.compile(r"`((?:zs_env|agents|examples|benchmarks|tests|docs)/[\w/.]*)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")
EXTERNAL_PROGRAMS = ("vllm", "trl", "llamafactory-cli", ".")
CONFIG = (
    "agents/training/config.py",
    "agents/training/program.py",
    "zs_env/settings.py",
    "agents/tuning/config.py",
)
"""Where the options of the trainers are declared, beside their own modules."""

RUN = """
import contextlib, io, json, sys
outputs = []
for line, code in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile("\\n" * line + code, sys.argv[1], "exec"), {"__name__": "__main__"})
    outputs.append(output.getvalue())
print(json.dumps(outputs))
"""


class Block(NamedTuple):
    """A fenced block: its info string, the number of its first line, and what stands around it."""

    info: str
    line: int
    text: str
    above: str
    shown: str | None


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page; of one that is followed by "prints", also what is printed."""
    blocks: list[Block] = []
    words: list[str] = []  # lines since the last block, without blank ones
    info, start, inside = "", 0, None
    for number, line in enumerate(page.read_text().splitlines(keepends=True), start=1):
        if inside is not None and line.rstrip() == "```":
            above = words[-1] if words else ""
            if above == "prints" and not info:
                blocks[-1] = blocks[-1]._replace(shown="".join(inside))
            else:
                blocks.append(Block(info, start, "".join(inside), above, None))
            inside, words = None, []
        elif inside is not None:
            inside.append(line)
        elif line.startswith("```"):
            info, start, inside = line[3:].strip(), number, []
        elif line.strip():
            words.append(line.strip())
    assert inside is None, f"{page}: the block in line {start} has no end"
    return blocks


def code_of(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.info == "python"]


def commands_of(page: Path) -> list[str]:
    text = "".join(block.text for block in blocks_of(page) if block.info == "sh")
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("page", [p for p in PAGES if code_of(p)], ids=lambda page: page.stem)
def test_code_of_page_runs_and_prints_what_is_shown(page, tmp_path):
    blocks = [block for block in code_of(page) if not NOT_RUN.fullmatch(block.above)]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, page.name],
        input=json.dumps([(block.line, block.text) for block in blocks]),
        capture_output=True, text=True, cwd=tmp_path, timeout=300,
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    outputs = json.loads(result.stdout.splitlines()[-1])
    for block, output in zip(blocks, outputs, strict=True):
        if block.shown is not None:
            pattern = ".*?".join(map(re.escape, block.shown.split("…")))
            assert re.fullmatch(pattern, output, re.DOTALL), f"line {block.line}:\n{output}"


def test_code_that_is_not_run_is_rare_and_valid():
    blocks = [b for page in PAGES for b in code_of(page) if NOT_RUN.fullmatch(b.above)]
    assert len(blocks) <= 3
    for block in blocks:
        compile(block.text, "documentation", "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_page_exist_with_their_options(page, capsys):
    for command in commands_of(page):
        words = shlex.split(command, comments=True)
        words = [*dropwhile(re.compile(r"[A-Z_]+=").match, words)]  # the environment
        program = Path(words[0]).name
        if program == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert words[1] in targets, command
        elif program == "pip":
            check_extras(words[-1])
        elif program == "zs-env":
            check_zs_env(words, capsys)
        elif program in ("python", "torchrun"):
            check_module(words[words.index("-m") + 1], words[words.index("-m") + 2 :])
        else:
            assert words[0] in EXTERNAL_PROGRAMS, command


def check_extras(requirement):
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    for extra in re.search(r"\[(.*)\]", requirement)[1].split(","):
        assert extra in config["options.extras_require"], requirement


def check_zs_env(words, capsys):
    command = words[1:3] if words[1] == "simulation" else words[1:2]
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    known = capsys.readouterr().out
    for option in (word for word in words[2:] if word.startswith("-")):
        assert f"{option} " in known, f"zs-env {' '.join(command)} has no option {option}"


def check_module(module, words):
    path = ROOT / module.replace(".", "/")
    path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    sources = [path, *(ROOT / name for name in CONFIG)]
    known = "".join(source.read_text() for source in sources if source.exists())
    for option in (word for word in words if word.startswith("--") and word != "--help"):
        field = option[2:].replace("-", "_")
        switch = field.removeprefix("no_")
        is_known = re.search(rf'^    ({field}: |{switch}: bool )|"{option}"', known, re.MULTILINE)
        assert is_known, f"{module} has no option {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_and_programs_that_a_page_names_exist(page):
    text = page.read_text()
    assert [path for path in FILE.findall(text) if not (ROOT / path).exists()] == []
    for module in re.findall(r"`python -m ((?:zs_env|agents|examples|benchmarks)[\w.]*)", text):
        check_module(module, [])
    for target in re.findall(r"`make ([\w-]+)`", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


@pytest.mark.parametrize("page", [README, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_links_between_files_resolve(page):
    links = LINK.findall(page.read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


def test_readme_tree_names_files_that_exist():
    [tree] = [block.text for block in blocks_of(README) if block.text.startswith("zs_env/")]
    found = 0
    for line in tree.splitlines():
        first = line.split()[0]
        if not line.startswith(" "):
            top = ROOT / first
        folder = top / first if line.startswith(" ") and first.endswith("/") else top
        for name in re.findall(r"[a-z_0-9/]+(?:\.py\b|/)", line):
            assert any((place / name).exists() for place in (folder, top, ROOT)), line
            found += 1
    assert found > 20


def test_readme_links_every_page_of_the_documentation():
    links = set(LINK.findall(README.read_text()))
    included = {"CHANGELOG.md": "changelog", "CONTRIBUTING.md": "contributing"}
    linked = {Path(link).stem for link in links if link.startswith("docs/")}
    linked |= {included[link] for link in links if link in included}
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} - linked - {"api"} == set()


def test_reference_lists_what_the_package_exports():
    text = (ROOT / "docs" / "api.md").read_text()
    names = {name for name in zs_env.__all__ if not name.startswith("__")}
    listed = re.findall(r"^\| (.*?) \| ", text, re.MULTILINE)
    assert names == set(re.findall(r"`(\w+)`", " ".join(listed)))


def test_citation_has_the_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {zs_env.__version__}\n" in text
