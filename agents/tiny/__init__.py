"""The small base policies: a million parameters, trained on the words of the embedded world."""

from pathlib import Path

NAME = "tiny"
"""Name of the base policy, which can be given wherever a model is expected."""

CREDULOUS = "tiny-credulous"
"""Name of a base policy that mostly believes noise: what it has to learn shows what noise does."""

MODEL = Path(__file__).parent / "model"
"""Folder of the base policy, in the format of transformers."""

BUNDLED = {NAME: MODEL, CREDULOUS: Path(__file__).parent / "credulous"}
"""Folder by name."""


def find_model(name: str | Path) -> str | Path:
    """Return the folder of a bundled policy by its name; any other folder or hub name as it is."""
    return BUNDLED.get(str(name), name)
