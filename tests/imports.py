"""Which module imports which, read from the text of the modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

Graph = dict[str, set[str]]
"""Module -> what it imports."""


def read_modules(root: Path, *packages: str) -> dict[str, ast.Module]:
    """Return the modules below ``root``, parsed, by name; a package has its own name."""
    modules = {}
    for path in sorted(file for package in packages for file in (root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        modules[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text())
    return modules


def import_graph(modules: dict[str, ast.Module], *, lazy: bool = True) -> Graph:
    """Return what each module imports, other packages such as ``torch`` included.

    What a package only passes on counts as an import of the module that defines it, except in the
    modules of that package: they would wait for one another.

    Args:
        modules: of `read_modules`.
        lazy: count imports inside functions and for type checkers too.
    """
    packages = {name.rpartition(".")[0] for name in modules}
    passed_on = {
        f"{name}.{alias}": source
        for name in packages & modules.keys()
        for source, alias in _imports(modules[name], lazy=False)
    }

    def resolve(importer: str, target: str) -> str:
        while target not in modules:
            package, _, _ = target.rpartition(".")
            if target in passed_on and not importer.startswith(f"{package}."):
                target = passed_on[target]
            elif package:
                target = package
            else:
                break
        return target

    return {
        name: {resolve(name, source) for source, _ in _imports(tree, lazy)} - {name}
        for name, tree in modules.items()
    }


def _imports(node: ast.AST, lazy: bool) -> Iterator[tuple[str, str]]:
    """Yield what is imported, as a dotted name, and what it is called from then on."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, alias.asname or alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, "relative imports are not read"
            for alias in child.names:
                yield f"{child.module}.{alias.name}", alias.asname or alias.name
        elif lazy or not _waits(child):
            yield from _imports(child, lazy)


def _waits(node: ast.AST) -> bool:
    """Return whether ``node`` does not run when its module is imported."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def reachable(graph: Graph, start: str) -> set[str]:
    """Return what ``start`` imports, and what that imports, and so on."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def circles(graph: Graph) -> set[tuple[str, ...]]:
    """Return the groups of modules that import one another."""
    after = {name: reachable(graph, name) for name in graph}
    return {
        tuple(sorted(other for other in after[name] if name in after.get(other, ())))
        for name in graph
        if name in after[name]
    }
