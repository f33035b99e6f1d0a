"""The layers of the code: no circle of imports, and no import of a higher layer."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.imports import circles, import_graph, reachable, read_modules

ROOT = Path(__file__).parent.parent

# What stands on a line may import what stands on the lines above it. On one line, files may import
# one another, but packages may not.
LAYERS = """
zs_env: errors files checks loading keyed_random
zs_env: actions documents prompts rewards curriculum rules questions episode
zs_env: world concurrency
zs_env: llm
zs_env: engines question_sources dataset_loading dataset_places datasets question_files
zs_env: settings
zs_env: tokens
zs_env: episodes
zs_env: envs
zs_env: evaluation
zs_env: adapters testing simulation report
zs_env: commands
zs_env: __init__ __main__
agents: __init__ objectives supervised
agents: tiny
agents: sampling
agents: training
agents: tuning
agents: sb3 sft ppo grpo reinforce evaluate
studies examples benchmarks
tests
"""

# What the layers would allow.
NEVER = [("zs_env.tokens", "zs_env.settings")]

ADAPTERS = "zs_env.adapters"
SHARED = {f"{ADAPTERS}.{name}" for name in ("task", "versions")}
"""What adapters share; one adapter must not need another one."""


def read_layers(text):
    """The number of the line on which each part of the code stands."""
    layers = {}
    for number, line in enumerate(text.strip().splitlines()):
        package, _, names = line.rpartition(": ")
        layers |= {f"{package}.{name}".lstrip("."): number for name in names.split()}
    return layers


LAYER = read_layers(LAYERS)


def part_of(module):
    """The file or package directly below `zs_env` or `agents`, or another package as a whole."""
    package, *rest = module.split(".")
    return f"{package}.{(rest or ['__init__'])[0]}" if package in ("zs_env", "agents") else package


def is_within(module, package):
    return f"{module}.".startswith(f"{package}.")


def crosses_adapters(module, target):
    """Whether one adapter, or what adapters share, imports another one."""
    if not (is_within(module, ADAPTERS) and is_within(target, ADAPTERS)):
        return False
    alike = module.split(".")[:3] == target.split(".")[:3]
    return not alike and target not in SHARED and target != ADAPTERS


def what_is_wrong(module, target, packages):
    """With an import of ``target`` in ``module``; None if it is right."""
    here, there = part_of(module), part_of(target)
    if any(is_within(module, a) and is_within(target, b) for a, b in NEVER):
        return f"{module} must never import {target}"
    if crosses_adapters(module, target):
        return f"{module} must never import {target}"
    if here == there or not {here, there} <= LAYER.keys():
        return None
    if LAYER[here] < LAYER[there]:
        return f"{module} imports {target}, which is of a higher layer"
    if LAYER[here] == LAYER[there] and {here, there} & packages:
        return f"{module} imports {target}, which is of the same layer"
    return None


def wrong_imports(modules):
    packages = {name.rpartition(".")[0] for name in modules}
    found = (
        what_is_wrong(module, target, packages)
        for module, targets in import_graph(modules).items()
        for target in sorted(targets)
    )
    return [wrong for wrong in found if wrong]


def is_program(module, tree):
    """Whether it is run: by ``python -m``."""
    guards = (ast.unparse(node.test) for node in tree.body if isinstance(node, ast.If))
    return module.endswith(".__main__") or "__name__ == '__main__'" in guards


@pytest.fixture(scope="module")
def modules():
    return read_modules(ROOT, "zs_env", "agents", "studies", "examples", "benchmarks", "tests")


def test_modules_have_a_layer(modules):
    homeless = sorted({part_of(name) for name in modules} - LAYER.keys())
    assert not homeless, (
        f"{', '.join(homeless)}: not in LAYERS of {Path(__file__).name}. Put each on a line below "
        "all that it imports and above all that imports it, or move it into a package."
    )


def test_imports_make_no_circle(modules):
    assert circles(import_graph(modules)) == set()


def test_imports_are_of_lower_layers(modules):
    assert wrong_imports(modules) == []


def test_programs_are_imported_by_no_module_of_the_packages(modules):
    """What two programs share has a module of its own."""
    graph = import_graph(modules)
    programs = {name for name, tree in modules.items() if is_program(name, tree)}
    assert programs >= {"agents.ppo", "agents.tiny.train", "zs_env.__main__"}
    importers = [name for name in graph if is_within(name, "zs_env") or is_within(name, "agents")]
    assert [(name, graph[name] & programs) for name in importers if graph[name] & programs] == []


def test_torch_is_loaded_by_the_models_of_llm_alone(modules):
    graph = import_graph(modules, lazy=False)
    library = [name for name in graph if is_within(name, "zs_env")]
    loading = [name for name in library if {"torch", "transformers"} & reachable(graph, name)]
    assert loading and [name for name in loading if not is_within(name, "zs_env.llm")] == []


def written(folder, files):
    """The modules of ``files``: path to text."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_modules(folder, "zs_env", "agents", "tests")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a": "import zs_env.b", "b": "from zs_env import a"}, [("a", "b")]),
        ({"a": "from zs_env.b import x", "b": "def f():\n    import zs_env.a"}, [("a", "b")]),
        (
            {
                "a": "import zs_env.b",
                "b": "import zs_env.c as c",
                "c": "if TYPE_CHECKING:\n    from zs_env.a import X",
            },
            [("a", "b", "c")],
        ),
        ({"a": "from zs_env.b import x", "b": "import a", "c": "import zs_env.a"}, []),
        # A package passes something on, to others and to a module of its own.
        ({"p/__init__": "from zs_env.p.m import x", "p/m": "", "a": "from zs_env.p import x"}, []),
        (
            {"p/__init__": "from zs_env.p.m import x\nfrom zs_env.p.n import y", "p/m": "",
             "p/n": "from zs_env.p import x"},
            [("p", "p.n")],
        ),
        # Two packages are no circle as long as their modules are none.
        ({"p/m": "import zs_env.q.m", "p/n": "", "q/m": "", "q/n": "import zs_env.p.n"}, []),
    ],
)  # fmt: skip
def test_circles_are_found(tmp_path, files, expected):
    modules = written(tmp_path, {f"zs_env/{name}.py": text for name, text in files.items()})
    found = circles(import_graph(modules))
    assert found == {tuple(f"zs_env.{name}" for name in circle) for circle in expected}


@pytest.mark.parametrize(
    ("module", "text", "expected"),
    [
        ("zs_env/episode.py", "from zs_env.engines import SearchEngine", "higher layer"),
        ("zs_env/episode.py", "def f():\n    import zs_env.engines.world", "higher layer"),
        ("zs_env/episode.py", "import torch\nfrom zs_env.rules import Rules", None),
        ("zs_env/engines/world.py", "from zs_env import settings", "higher layer"),
        ("zs_env/engines/world.py", "from zs_env.question_sources import x", "same layer"),
        ("zs_env/engines/world.py", "from zs_env.engines.base import SearchEngine", None),
        ("zs_env/envs/pool.py", "from zs_env import Rules", "higher layer"),
        ("zs_env/tokens/batch.py", "from zs_env.settings import Settings", "must never"),
        ("zs_env/adapters/verl.py", "import zs_env.adapters.trl", "must never"),
        ("zs_env/adapters/verl/loop.py", "import zs_env.adapters.trl", "must never"),
        ("zs_env/adapters/verl/loop.py", "import zs_env.adapters.verl.config", None),
        ("zs_env/adapters/verl.py", "import zs_env.adapters.task", None),
        ("zs_env/adapters/task.py", "import zs_env.adapters.trl", "must never"),
        ("zs_env/testing/adapters.py", "import zs_env.adapters.task", "same layer"),
        ("zs_env/report/pages.py", "import agents", "higher layer"),
        ("agents/training/run.py", "import agents.ppo", "higher layer"),
        ("agents/training/run.py", "from tests.helpers import play", "higher layer"),
        ("agents/ppo.py", "from agents.training.run import Run", None),
    ],
)
def test_imports_of_a_higher_layer_are_found(tmp_path, module, text, expected):
    library = ["rules", "engines/base", "engines/world", "question_sources", "settings"]
    library += ["adapters/__init__", "adapters/trl", "adapters/task", "adapters/verl/__init__"]
    library += ["adapters/verl/config"]
    others = [f"zs_env/{name}.py" for name in library]
    others += ["agents/training/run.py", "agents/ppo.py"]
    first = {"zs_env/__init__.py": "from zs_env.rules import Rules"}
    wrong = wrong_imports(written(tmp_path, first | dict.fromkeys(others, "") | {module: text}))
    assert not wrong if expected is None else len(wrong) == 1 and expected in wrong[0]
