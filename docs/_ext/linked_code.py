"""Links names of this package that stand in code font: `zs_env.rules.Rules`, `zs_env/rules.py`.

So pages read well as plain Markdown, and a name that no longer exists is a warning.
"""

from __future__ import annotations

import importlib
import re
from contextlib import suppress
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

NAME = re.compile(r"(?:zs_env|agents)(?:\.\w+)+")
FILE = re.compile(r"(zs_env|agents)/([\w/]+)\.py")


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the transform, and say what becomes of names without an entry in the reference."""
    app.add_transform(LinkCode)
    app.connect("missing-reference", allow_undocumented)
    return {"parallel_read_safe": True}


class LinkCode(SphinxTransform):
    """Makes a reference of each literal that is a full name, or the path of a module."""

    default_priority = 700

    def apply(self, **kwargs: Any) -> None:
        """Wrap the literals of the document."""
        for literal in list(self.document.findall(nodes.literal)):
            target = _target_of(literal.astext())
            if target is None or isinstance(literal.parent, pending_xref | nodes.reference):
                continue
            reference = pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=target,
                refexplicit=True,
                refwarn=True,
                refdoc=self.env.docname,
            )
            reference.source, reference.line = literal.parent.source, literal.parent.line
            literal.replace_self(reference)
            reference += literal


def allow_undocumented(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.TextElement | None:
    """Leave a name without a link, and without a warning, if it exists: a type alias, say."""
    target = str(node.get("reftarget", ""))
    return content if NAME.fullmatch(target) and _exists(target) else None


def _exists(name: str) -> bool:
    """Whether ``name`` is a module, or what one holds."""
    parts = name.split(".")
    for number in range(len(parts), 0, -1):
        with suppress(ImportError):
            found: Any = importlib.import_module(".".join(parts[:number]))
            try:
                for part in parts[number:]:
                    found = getattr(found, part)
            except AttributeError:
                return False
            return True
    return False


def _target_of(text: str) -> str | None:
    if NAME.fullmatch(text):
        return text
    if match := FILE.fullmatch(text):
        module = f"{match[1]}.{match[2].replace('/', '.')}"
        return module.removesuffix(".__init__")
    return None
