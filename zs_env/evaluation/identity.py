"""What decides the records of a run, in a form that can be kept and compared."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from zs_env.hidden import without_named_secrets
from zs_env.llm import LanguageModel
from zs_env.llm.local import LocalLanguageModel
from zs_env.questions import QuestionSource

WEIGHTS = ("*.safetensors", "*.bin")
"""Files with weights, in the folder of a model."""

HASHED_BYTES = 2**20
"""Bytes at the beginning and at the end of such a file that are hashed."""


def identity_of(thing: Any) -> Any:
    """Return what decides the answers of a model or an engine, or the name of its class.

    Values whose name says that they are secret are hidden (`zs_env.hidden`).
    """
    try:
        return without_named_secrets(thing.identity())
    except NotImplementedError:
        return type(thing).__name__


def weights_of(llm: LanguageModel) -> str | None:
    """Return a hash of the weights in the folder of a model in this process; None of any other."""
    return weights_in(llm.model) if isinstance(llm, LocalLanguageModel) else None


def weights_in(folder: str | Path) -> str | None:
    """Return a hash of the weights in the folder of a model; None if there is no such folder.

    Of each file it reads the length, the first and the last of `HASHED_BYTES`: a copy has the same.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(p for kind in WEIGHTS for p in folder.glob(kind)):
        with path.open("rb") as file:
            size = path.stat().st_size
            digest.update(repr((path.name, size)).encode() + file.read(HASHED_BYTES))
            file.seek(max(size - HASHED_BYTES, 0))
            digest.update(file.read())
    return digest.hexdigest()[:16]


def fingerprint(questions: QuestionSource, size: int) -> str:
    """Return the number of the first ``size`` questions, and a hash of all that is asked.

    Raises:
        ValueError: two of them have the same id.
    """
    digest = hashlib.sha256()
    ids: set[str] = set()
    for number in range(size):
        question = questions[number]
        if question.id in ids:
            raise ValueError(f"two questions have the id {question.id!r}: their records would too.")
        ids.add(question.id)
        digest.update(repr((question.id, question.text, question.golden_answers)).encode())
    return f"{size}:{digest.hexdigest()[:16]}"
