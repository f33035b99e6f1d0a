"""Documents that were asked for, kept in a folder: a second call asks only what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from zs_env.documents import Document, SearchRequest
from zs_env.errors import SimulationDataError
from zs_env.files import filled_lines, parse_line
from zs_env.simulation.fidelity.asked import Cost

DOCUMENTS = "documents.jsonl"


class Kept(NamedTuple):
    """Documents of a request, and what they cost."""

    documents: tuple[Document, ...]
    cost: Cost | None


class DocumentStore:
    """Documents by the key of the request, in memory and, if there is a folder, in a file.

    Each batch is appended as it comes. A killed program leaves at most one line that is not whole,
    which is taken out.

    Args:
        folder: folder that holds the file; None keeps nothing on disk.

    Raises:
        SimulationDataError: a line is broken.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.path = None if folder is None else folder / DOCUMENTS
        self._kept: dict[str, Kept] = {}
        if self.path is not None and self.path.is_file():
            self._read(self.path)

    def get(self, key: str) -> Kept | None:
        """Return what is kept of a request."""
        return self._kept.get(key)

    def add(self, engine: str, entries: Sequence[tuple[str, SearchRequest, Kept]]) -> None:
        """Keep the answers of a batch.

        Args:
            engine: name of the engine, for readers of the file.
            entries: key, request and answer of each.

        Raises:
            SimulationDataError: they cannot be written, as on a full disk.
        """
        self._kept.update({key: kept for key, _, kept in entries})
        if self.path is None or not entries:
            return
        lines = b"".join(_line(engine, *entry) for entry in entries)
        try:
            with self.path.open("ab", buffering=0) as file:
                written = file.write(lines)
        except OSError as error:
            raise SimulationDataError(
                f"{self.path}: documents cannot be written: {error}. Those before them are kept: "
                "free some space, and run the same command again."
            ) from error
        if written != len(lines):
            raise SimulationDataError(f"{self.path}: written in part: is the disk full?")

    def _read(self, path: Path) -> None:
        whole = 0
        for number, start, line in filled_lines(path):
            if not line.endswith(b"\n"):
                break
            place = f"{path}:{number}"
            values = parse_line(place, line, SimulationDataError)
            try:
                self._kept[str(values["key"])] = _kept(values)
            except (AttributeError, KeyError, TypeError) as error:
                raise SimulationDataError(
                    f"{place}: not the documents of a search: {error}."
                ) from None
            whole = start + len(line)
        if whole < path.stat().st_size:
            with path.open("rb+") as file:
                file.truncate(whole)


def key_of(identity: Mapping[str, Any], request: SearchRequest) -> str:
    """Return the hash of all that decides an answer: the engine's identity, and the request."""
    text = json.dumps([identity, list(request)], sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _line(engine: str, key: str, request: SearchRequest, kept: Kept) -> bytes:
    values = {
        "key": key,
        "engine": engine,
        "query": request.query,
        "noisy": request.noisy,
        "golden_answers": list(request.golden_answers),
        "documents": [{"title": each.title, "text": each.text} for each in kept.documents],
        "cost": None if kept.cost is None else kept.cost._asdict(),
    }
    return json.dumps(values).encode() + b"\n"


def _kept(values: Mapping[str, Any]) -> Kept:
    documents = tuple(Document(each["text"], each["title"]) for each in values["documents"])
    cost = values["cost"]
    return Kept(documents, None if cost is None else Cost(**cost))
