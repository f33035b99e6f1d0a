"""Writes the pages that follow from the code: one for each environment id, one for each module.

They are written to ``docs/generated`` when a build begins, and only where they have changed. The
specification of an environment is its class docstring, which is Markdown; modules are left to
autodoc.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
from sphinx.application import Sphinx

from zs_env.envs.registration import ENV_IDS

PACKAGES = ("zs_env", "agents")


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before Sphinx looks for them."""
    app.connect("builder-inited", lambda app: write_all(Path(app.srcdir) / "generated"))
    return {"parallel_read_safe": True}


def write_all(folder: Path) -> None:
    """Write every page to ``folder``, and remove those of what no longer exists."""
    pages = {
        **{f"environments/{env_id}.md": environment_page(env_id) for env_id in ENV_IDS},
        **dict(page for package in PACKAGES for page in module_pages(package)),
    }
    for path in folder.rglob("*.md"):
        if str(path.relative_to(folder)) not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def environment_page(env_id: str) -> str:
    """Return the page of an environment id."""
    spec = gymnasium.spec(env_id)
    single = load(str(spec.entry_point))
    summary, _, body = inspect.cleandoc(single.__doc__ or "").partition("\n")
    return f"""\
# {env_id}

{summary}

| | |
|---|---|
| one environment | `gymnasium.make("{env_id}")`, an instance of `{full_name(single)}` |
| several, stepped together | `gymnasium.make_vec("{env_id}", num_envs=64)`, an instance of \
`{full_name(load(str(spec.vector_entry_point)))}` |

{body.strip()}
"""


def module_pages(package: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of the page of each module of ``package``, and of the package."""
    found = importlib.import_module(package)
    children = [
        (f"{package}.{module.name}", module.ispkg)
        for module in pkgutil.iter_modules(found.__path__)
        if not module.name.startswith("_")
    ]
    rows = [f"| `{name}` | {summary_of(name)} |" for name, _ in children]
    listing = "\n".join(f"{name.rpartition('.')[2]} <{name}>" for name, _ in children)
    contents = f"\n```{{toctree}}\n:hidden:\n\n{listing}\n```\n" if children else ""
    table = "\n".join(["| module | |", "|---|---|", *rows, ""]) if children else ""
    yield f"api/{package}.md", f"{automodule(package)}\n{table}{contents}"
    for name, is_package in children:
        if is_package:
            yield from module_pages(name)
        else:
            yield f"api/{name}.md", automodule(name)


def automodule(name: str) -> str:
    """Return the page of a module."""
    return f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"


def summary_of(module: str) -> str:
    """Return the first line of a module's docstring, without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""
    return docstring.partition("\n")[0].replace("``", "`").replace("|", "\\|")


def load(entry_point: str) -> type:
    """Return the class at ``module:class``."""
    module, _, name = entry_point.partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found


def full_name(cls: type) -> str:
    """Return the name of a class with its module."""
    return f"{cls.__module__}.{cls.__qualname__}"
