"""Settings of the documentation, which ``make docs`` builds. Nothing is read from the network."""

from __future__ import annotations

import sys
from functools import wraps
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

import zs_env  # noqa: E402  (this checkout's, from the path above)
from zs_env.adapters.verl import names as verl  # noqa: E402

project = "zs-env"
author = "The zs-env authors"
copyright = f"2025, {author}"
release = version = zs_env.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "generated_pages",
    "docstrings",
    "linked_code",
]
exclude_patterns = ["_build"]
suppress_warnings = ["ref.python"]  # a short name in a docstring may stand for one of several

html_theme = "furo"
html_title = f"zs-env {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
highlight_language = "text"
smartquotes_action = "D"  # quotes are often code

myst_heading_anchors = 3

autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "member-order": "bysource",
    "ignore-module-all": True,  # what a package only passes on has its entry where it is made
}
# They live in environments of their own.
autodoc_mock_imports = [
    "fastapi", "omegaconf", "openenv", "ray", "transfer_queue", "uvicorn", "verl", "vllm",
]  # fmt: skip
verl.check_version = wraps(verl.check_version)(lambda: None)  # modules check it as they begin
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
default_role = "py:obj"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88

nitpicky = True
# Only names of this package have pages here.
nitpick_ignore_regex = [("py:.*", r"(?!(zs_env|agents)\.).*")]
