"""Judging a source: each verdict is kept as it comes, and all of them are written in the end."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from zs_env.errors import SimulationDataError
from zs_env.evaluation.store import LOCK, differing, lock_folder
from zs_env.files import filled_lines, parse_line, replace_file
from zs_env.hidden import without_named_secrets
from zs_env.simulation.judges import SearchJudge, Verdict
from zs_env.simulation.searches import (
    JUDGED,
    CollectedSearch,
    read_searches,
    with_verdicts_of,
    write_searches,
)

NO_VERDICT = "the judge gave no verdict"
NOT_ASKED = "the judge could not be asked"


class Judged(NamedTuple):
    """Searches with the verdicts of a judge.

    Attributes:
        searches: all searches; one without a verdict has none of this judge.
        path: file that holds them.
        useful: number of searches that the judge takes for useful.
        noisy: number of the others.
        left_out: number of searches without a verdict, by reason.
        new: number of verdicts that this call asked for.
    """

    searches: list[CollectedSearch]
    path: Path
    useful: int
    noisy: int
    left_out: Counter[str]
    new: int

    @property
    def warning(self) -> str | None:
        """What is wrong with a judge that always says the same; None if it does not."""
        if self.useful + self.noisy > 1 and 0 in (self.useful, self.noisy):
            said = "useful" if self.useful else "noisy"
            return (
                f"the judge takes all {self.useful + self.noisy} searches for {said}: look at some "
                "of them, and try another judge or template. Pairs need both."
            )
        return None

    @property
    def silence(self) -> str | None:
        """What is wrong with a judge that is silent on most searches; None if it is not."""
        silent, said = self.left_out[NO_VERDICT], self.useful + self.noisy
        if silent <= said:
            return None
        return f"the judge gave no verdict on {silent} of {silent + said} searches"


def judge_source(
    source: Path,
    judge: SearchJudge,
    output: Path | None = None,
    *,
    top_k: int | None = None,
    retry: bool = False,
    watch: Callable[[int, int], None] | None = None,
) -> Judged:
    """Judge the searches of ``source``, and write them with their verdicts to `JUDGED`.

    Verdicts of other judges that are there stay. A second call asks only what has no verdict on
    the same documents.

    Args:
        source: folder of records or of searches, or a file of searches.
        judge: judge.
        output: folder to write to; by default, that of the source.
        top_k: number of first documents of a search that are judged; None for all.
        retry: whether to ask again where the judge gave no verdict in an earlier call.
        watch: function that is shown the number of verdicts so far and of searches.

    Raises:
        SimulationDataError: the source cannot be read, or the folder holds verdicts of another
            judge of that name.
        ServiceError: the judge cannot be used.
    """
    folder = output or (source if source.is_dir() else source.parent)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder / LOCK):
        found = read_searches(source).searches
        if folder != source and (folder / JUDGED).is_file():
            found = with_verdicts_of(found, read_searches(folder / JUDGED).searches)
        with VerdictLog(folder, judge.name, judge.identity(), retry=retry) as log:
            shown = [search.first(top_k) for search in found]
            missing = [search for search in shown if search.key not in log.verdicts]
            before = len(found) - len(missing)
            new = 0

            def keep(number: int, verdict: Verdict) -> None:
                nonlocal new
                new += 1
                log.write(missing[number].key, verdict)
                if watch is not None:
                    watch(before + new, len(found))

            if missing:
                has_spoken = any(said is not None for said in log.verdicts.values())
                judge.judge(missing, keep, has_spoken=has_spoken)
            verdicts = log.verdicts
        judged = [_with_verdict(search, judge.name, verdicts, top_k) for search in found]
        write_searches(folder / JUDGED, judged)
    unsaid = sum(s.key in verdicts and verdicts[s.key] is None for s in shown)
    return _count(judged, folder / JUDGED, judge.name, unsaid, new)


class VerdictLog:
    """Verdicts of one judge in a folder, each a line, written as it comes.

    Its first line says what decides the verdicts. It is begun with the first verdict: a judge that
    never gave one leaves nothing behind. A killed program leaves at most one line that is not
    whole, which is taken out.

    Args:
        folder: folder that holds it.
        name: name of the judge.
        identity: what decides its verdicts.
        retry: whether to leave out searches that the judge gave no verdict on.

    Raises:
        SimulationDataError: the verdicts there are of another judge.

    Attributes:
        verdicts: verdicts by the key of the search.
    """

    def __init__(
        self, folder: Path, name: str, identity: Mapping[str, Any], *, retry: bool = False
    ) -> None:
        self.path = folder / f"verdicts-{_file_name(name)}.jsonl"
        self.verdicts: dict[str, Verdict] = {}
        self._header = json.loads(json.dumps(without_named_secrets({"name": name, **identity})))
        self._waiting: list[bytes] = []
        self._begun = False
        if self.path.is_file():
            self._read()
        if retry:
            self.verdicts = {key: said for key, said in self.verdicts.items() if said is not None}
        self._file = self.path.open("ab", buffering=0) if self._begun else None

    def __enter__(self) -> VerdictLog:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def write(self, key: str, verdict: Verdict) -> None:
        """Append a verdict.

        Raises:
            SimulationDataError: it cannot be written whole, as on a full disk.
        """
        self.verdicts[key] = verdict
        self._waiting.append(json.dumps({"search": key, "useful": verdict}).encode() + b"\n")
        if verdict is None and not self._begun:
            return
        try:
            if self._file is None:
                replace_file(self.path, json.dumps(self._header).encode() + b"\n")
                self._file = self.path.open("ab", buffering=0)
                self._begun = True
            lines = b"".join(self._waiting)
            written = self._file.write(lines)
        except OSError as error:
            raise SimulationDataError(
                f"{self.path}: a verdict cannot be written: {error}. Those before it are kept: "
                "free some space, and run the same command again."
            ) from error
        if written != len(lines):
            raise SimulationDataError(
                f"{self.path}: a verdict was written in part: is the disk full?"
            )
        self._waiting.clear()

    def _read(self) -> None:
        lines = list(filled_lines(self.path))
        whole = [(number, line) for number, _, line in lines if line.endswith(b"\n")]
        if not whole:
            self.path.unlink()
            return
        header = parse_line(f"{self.path}:1", whole[0][1], SimulationDataError)
        if changes := differing(header, self._header):
            raise SimulationDataError(
                f"{self.path} holds verdicts of another judge of this name: "
                f"{'; '.join(changes)[:300]}. Give the judge another name, as in "
                f"'llm,name=second,…', or delete the file."
            )
        for number, line in whole[1:]:
            place = f"{self.path}:{number}"
            values = parse_line(place, line, SimulationDataError)
            key, said = values.get("search"), values.get("useful")
            if not isinstance(key, str) or not isinstance(said, bool | None):
                raise SimulationDataError(f"{place}: not a verdict: {line[:60]!r}.")
            self.verdicts[key] = said
        if len(whole) < len(lines):
            replace_file(self.path, b"".join(line for _, line in whole))
        self._begun = True


def identity_of_judge(folder: Path, name: str) -> dict[str, Any] | None:
    """Return what decides the verdicts that a folder holds of a judge; None if it holds none."""
    path = folder / f"verdicts-{_file_name(name)}.jsonl"
    for number, _, line in filled_lines(path) if path.is_file() else ():
        return parse_line(f"{path}:{number}", line, SimulationDataError)
    return None


def _with_verdict(
    search: CollectedSearch, name: str, verdicts: Mapping[str, Verdict], top_k: int | None
) -> CollectedSearch:
    shown = search.first(top_k)
    said = verdicts.get(shown.key)
    if said is not None:
        return search.judged({name: said}, {name: len(shown.documents)})
    before = search.judged_top_k.get(name, len(search.documents))
    # A verdict on other documents is none on these.
    return search if before == len(shown.documents) else search.without_verdict(name)


def _count(
    judged: Sequence[CollectedSearch],
    path: Path,
    name: str,
    unsaid: int,
    new: int,
) -> Judged:
    said = Counter(search.verdicts.get(name) for search in judged)
    left_out = Counter({NO_VERDICT: unsaid, NOT_ASKED: said[None] - unsaid})
    return Judged(list(judged), path, said[True], said[False], +left_out, new)


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[\w.-]+", name):
        raise SimulationDataError(
            f"the name of a judge must be letters, digits, '.', '_' and '-', got {name!r}."
        )
    return name
