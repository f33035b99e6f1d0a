"""Folder of a run: what was asked, and a line for each record, written as it ends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from zs_env.errors import RecordError
from zs_env.evaluation.record import Record, RecordKey
from zs_env.files import filled_lines, parse_line, replace_file

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

RUN, RECORDS, LOCK = "run.json", "records.jsonl", ".lock"


class Kept(NamedTuple):
    """Contents of a file of records.

    Attributes:
        records: by key; of two with one key the later.
        damaged: place and reason of each line that is no record.
    """

    records: dict[RecordKey, Record]
    damaged: list[str]


class RecordStore:
    """Records of one run in ``folder``, for one program at a time.

    A killed program leaves whole lines, and at most one that is not: it is taken out, and what it
    held can be asked again. What was asked is written with the first record: a run that could not
    begin leaves nothing that would refuse another one.

    Args:
        folder: folder of the run; it is made if there is none.
        asked: what decides the records, JSON-able: it must be that of the records that are there.
        retry_failed: whether records of failures are left out of ``records``, to be asked again;
            each stays in the file until a new one takes its place.

    Raises:
        RecordError: the folder holds another run, or another program writes to it.
        OSError: it cannot be written.

    Attributes:
        records: the records that were there.
        damaged: lines that were no records, and were taken out.
    """

    def __init__(
        self, folder: Path, asked: Mapping[str, Any], *, retry_failed: bool = False
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(folder / LOCK)
        self._path = folder / RECORDS
        try:
            self._new_run = self._check(asked)
            kept = read_lines(self._path)
            self.damaged = kept.damaged
            self.records = {
                key: record
                for key, record in kept.records.items()
                if not (retry_failed and record.failed)
            }
            check_benchmark(folder, asked, kept.records.values())
            if kept.damaged:
                self._rewrite(kept.records.values())
            self._file = self._path.open("ab", buffering=0)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> RecordStore:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def write(self, record: Record) -> None:
        """Append a record.

        Raises:
            RecordError: it cannot be written whole, as on a full disk.
        """
        line = _line(record)
        try:
            if self._new_run is not None:
                replace_file(self.folder / RUN, self._new_run)
                self._new_run = None
            written = self._file.write(line)
        except OSError as error:
            raise RecordError(
                f"{self._path}: a record cannot be written: {error}. The records before it are "
                "kept: free some space, and run the same command again."
            ) from error
        if written != len(line):
            raise RecordError(f"{self._path}: a record was written in part: is the disk full?")

    def replace(self, records: Iterable[Record]) -> None:
        """Write ``records`` in place of all that are there."""
        self._file.close()
        self._rewrite(records)
        self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file, and let other programs write."""
        self._file.close()
        self._lock.close()

    def _check(self, asked: Mapping[str, Any]) -> bytes | None:
        """Return what has to be written to `RUN`; None if it is there."""
        path = self.folder / RUN
        text = _run_text(asked)
        if not path.is_file():
            if self._path.is_file() and self._path.stat().st_size:
                raise RecordError(f"{self._path} holds records, but there is no {RUN} beside it.")
            return text.encode()
        before, now = read_run(self.folder), json.loads(text)
        if benchmark_of(before) != benchmark_of(now):
            raise RecordError(
                f"{self.folder} holds a run of {_listed(benchmark_of(before))}, and this is one of "
                f"{_listed(benchmark_of(now))}. Give another folder."
            )
        differences = differing(before, now)
        if differences:
            raise RecordError(
                f"{self.folder} holds a run with other options: {'; '.join(differences)}. Give the "
                "same options to go on with it, or another folder."
            )
        return None

    def _rewrite(self, records: Iterable[Record]) -> None:
        replace_file(self._path, b"".join(map(_line, records)))


def write_run(folder: Path, asked: Mapping[str, Any], records: Iterable[Record]) -> None:
    """Keep a whole run at once, in place of the one that ``folder`` holds."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / RECORDS, b"".join(map(_line, records)))
    replace_file(folder / RUN, _run_text(asked).encode())


def read_run(folder: Path) -> dict[str, Any]:
    """Return what was asked in the run of ``folder``.

    Raises:
        RecordError: it is no folder of a run.
    """
    path = folder / RUN
    if not path.is_file():
        raise RecordError(f"{folder} is no folder of an evaluation: it has no {RUN}.")
    return parse_line(str(path), path.read_bytes(), RecordError)


def read_records(folder: Path) -> list[Record]:
    """Return the records of a run, by dataset, engine, question and repeat.

    Raises:
        RecordError: a line is damaged, or there are none.
    """
    kept = read_lines(folder / RECORDS)
    if kept.damaged:
        raise RecordError(
            f"{'; '.join(kept.damaged)}. Run the evaluation again: it takes them out, and asks "
            "only what is missing."
        )
    if not kept.records:
        raise RecordError(f"{folder} holds no records.")
    return [kept.records[key] for key in sorted(kept.records)]


def read_lines(path: Path) -> Kept:
    """Read a file of records; damaged lines do no harm to the others."""
    records: dict[RecordKey, Record] = {}
    damaged = []
    for number, _, line in filled_lines(path) if path.is_file() else ():
        place = f"{path}:{number}"
        try:
            if not line.endswith(b"\n"):
                raise RecordError(f"{place}: the line is not complete")
            record = Record.from_json(parse_line(place, line, RecordError))
        except RecordError as error:
            reason = str(error)
            damaged.append(reason if reason.startswith(place) else f"{place}: {reason}")
        else:
            records[record.key] = record
    return Kept(records, damaged)


def benchmark_of(asked: Mapping[str, Any]) -> list[str | None]:
    """Return the tiers of a benchmark that a run is of, as its records name them; or None."""
    return sorted(asked.get("benchmark") or ()) or [None]


def check_benchmark(folder: Path, asked: Mapping[str, Any], records: Iterable[Record]) -> None:
    """Check that all ``records`` are of the benchmark that ``asked`` says, or of none.

    Raises:
        RecordError: some are not.
    """
    expected = benchmark_of(asked)
    strange = {record.benchmark for record in records} - set(expected)
    if strange:
        raise RecordError(
            f"{folder} holds records of {_listed(strange)} in a run of {_listed(expected)}: they "
            "cannot be judged together."
        )


def differing(old: Any, new: Any, name: str = "") -> list[str]:
    """Return a clause for each option whose value differs, also within options."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return [] if old == new else [f"`{name}` was {json.dumps(old)}, now {json.dumps(new)}"]
    return [
        clause
        for part in sorted({*old, *new})
        for clause in differing(old.get(part), new.get(part), f"{name}.{part}".lstrip("."))
    ]


def _listed(benchmark: Iterable[str | None]) -> str:
    return ", ".join(sorted("no benchmark" if part is None else part for part in benchmark))


def _run_text(asked: Mapping[str, Any]) -> str:
    return json.dumps(asked, indent=1, sort_keys=True, default=str)


def _line(record: Record) -> bytes:
    # ASCII: a lone surrogate could not be encoded otherwise.
    return json.dumps(record.as_json(), default=str).encode() + b"\n"


def lock_folder(path: Path) -> Any:
    """Open ``path`` and hold it for this program until it is closed.

    Raises:
        RecordError: another program holds it.
    """
    file = path.open("w")
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise RecordError(
                f"{path.parent} is being written by another program: wait for it, or give another "
                "folder."
            ) from None
    return file
