"""Documents as text for a prompt."""

from __future__ import annotations

from collections.abc import Sequence

from zs_env.documents import Document
from zs_env.prompts import INFORMATION_END, INFORMATION_START, render_information


def listed(documents: Sequence[Document]) -> str:
    """Return clean ``documents``, one a line, without the tags around them."""
    block = str(render_information(documents))
    return block.removeprefix(INFORMATION_START).removesuffix(INFORMATION_END)
