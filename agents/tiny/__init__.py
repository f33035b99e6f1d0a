"""The small base policy: a million parameters, trained on the words of the embedded world."""

from pathlib import Path

NAME = "tiny"
"""Name of the base policy, which can be given wherever a model is expected."""

MODEL = Path(__file__).parent / "model"
"""Folder of the base policy, in the format of transformers."""


def find_model(name: str | Path) -> str | Path:
    """Return `MODEL` for ``"tiny"``; any other folder or hub name as it is."""
    return MODEL if str(name) == NAME else name
