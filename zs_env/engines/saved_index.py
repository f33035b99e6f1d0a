"""BM25 index that is saved in a folder and opened memory-mapped.

The folder holds the arrays that `bm25s` saves, the offsets of the corpus's lines, and a manifest
with the state of the corpus and of every file. A folder that does not agree with its manifest is
not used. Building takes about 1.5 kB of memory for each passage of 45 words; opening takes little
more than the vocabulary.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import bm25s
import numpy as np

from zs_env.engines.bm25_index import BM25S_VERSION, index_texts
from zs_env.engines.corpus import PassageFile
from zs_env.errors import CorpusError

VERSION = f"1, bm25s {BM25S_VERSION}"
"""Version of the folder's layout, and of the library that computed the scores."""

MANIFEST = "manifest.json"
STARTS = "line_starts.npy"
FILES = (
    STARTS,
    "data.csc.index.npy",
    "indices.csc.index.npy",
    "indptr.csc.index.npy",
    "params.index.json",
    "vocab.index.json",
)

PROGRESS_S = 5.0
"""Seconds between two reports of progress."""

ATTEMPTS = 3
BLOCK_BYTES = 1 << 16
SAMPLED_BLOCKS = 1024
"""Blocks of a file that `digest` reads, unless it reads the whole."""


class UnusableIndex(CorpusError):
    """Error: the folder holds no index, or one that must not be used; the message says why."""


@dataclass(frozen=True)
class FileState:
    """State of a file, by which a change is detected.

    If size and time of change are the same, only sampled blocks are compared; if the time differs,
    as after a copy, the whole content is.

    Attributes:
        size: size, in bytes.
        modified_ns: time of the last change, in nanoseconds.
        sample: hash of sampled blocks.
        whole: hash of the whole content.
    """

    size: int
    modified_ns: int
    sample: str
    whole: str

    @classmethod
    def of(cls, path: Path) -> FileState:
        """Return the state of the file at ``path``."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, digest(path), digest(path, whole=True))

    def is_of(self, path: Path) -> bool:
        """Return whether the file at ``path`` is in this state."""
        status = path.stat()
        if status.st_size != self.size:
            return False
        if status.st_mtime_ns == self.modified_ns:
            return digest(path) == self.sample
        return digest(path, whole=True) == self.whole


def digest(path: Path, whole: bool = False) -> str:
    """Return a hash of size and content: the whole, or 64 MB spread evenly over the file."""
    size = path.stat().st_size
    num_blocks = -(-size // BLOCK_BYTES)
    num_read = num_blocks if whole else min(num_blocks, SAMPLED_BLOCKS)
    content = blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        for block in np.linspace(0, num_blocks - 1, num_read).round().astype(int).tolist():
            file.seek(block * BLOCK_BYTES)
            content.update(file.read(BLOCK_BYTES))
    return content.hexdigest()


def open_or_build(corpus: Path, folder: Path) -> tuple[PassageFile, bm25s.BM25]:
    """Open ``corpus`` and its index in ``folder``; build the index if there is none to use.

    Several processes may do this at once: each builds an index, and one of them stays.

    Raises:
        CorpusError: the corpus is malformed, or the index cannot be written.
    """
    for _ in range(ATTEMPTS):  # another process may be replacing the index at the same time
        try:
            return open_index(corpus, folder)
        except UnusableIndex as error:
            why = str(error)
        _build(corpus, folder, why)
    return open_index(corpus, folder)


def open_index(corpus: Path, folder: Path) -> tuple[PassageFile, bm25s.BM25]:
    """Open ``corpus`` and its index, memory-mapped from ``folder``.

    Raises:
        UnusableIndex: there is no index; or it is damaged, of another version, or not of this
            corpus as it is now.
    """
    status = corpus.stat()  # before the index is compared with the corpus, which may change
    try:
        _check(corpus, folder, json.loads((folder / MANIFEST).read_bytes()))
        passages = PassageFile(corpus, np.load(folder / STARTS, mmap_mode="r"))
        index = bm25s.BM25.load(folder, mmap=True, show_progress=False)
    except UnusableIndex:
        raise
    except FileNotFoundError as error:
        raise UnusableIndex(f"{folder}: there is no index, or not all of it") from error
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UnusableIndex(f"{folder}: the index is damaged: {error!r}") from error
    passages.check_unchanged(status)
    return passages, index


def _check(corpus: Path, folder: Path, manifest: dict[str, Any]) -> None:
    if manifest["version"] != VERSION:
        raise UnusableIndex(
            f"{folder}: the index is of version {manifest['version']}, expected {VERSION}"
        )
    if not FileState(**manifest["corpus"]).is_of(corpus):
        raise UnusableIndex(f"{folder}: the index is not of {corpus} as it is now")
    for name in FILES:
        if manifest["digests"][name] != digest(folder / name):
            raise UnusableIndex(f"{folder / name}: the file is damaged")


def _build(corpus: Path, folder: Path, why: str) -> None:
    _check_replaceable(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
        ) as temporary:
            made = Path(temporary) / "index"  # the temporary folder itself is private
            _write(corpus, made, why)
            _publish(corpus, made, folder)
    except OSError as error:
        raise CorpusError(
            f"{folder}: the index cannot be written: {error}. Name a folder inside one that can "
            "be written, on a disk with room for it."
        ) from error


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace a folder that this module did not make."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CorpusError(f"{folder}: expected a folder for the index, got a file.")
    foreign = {path.name for path in folder.iterdir()} - {MANIFEST, *FILES}
    if foreign:
        raise CorpusError(
            f"{folder}: the folder holds no index of this corpus, and other files in it, such as "
            f"{min(foreign)}, would be lost: name a new or an empty folder."
        )


def _write(corpus: Path, folder: Path, why: str) -> None:
    passages = PassageFile(corpus)
    index = index_texts(_texts(passages, why), str(corpus))
    state = FileState.of(corpus)
    passages.check_unchanged(corpus.stat())
    index.save(folder, show_progress=False)
    np.save(folder / STARTS, passages.starts)
    digests = {name: digest(folder / name) for name in FILES}
    manifest = {"version": VERSION, "corpus": asdict(state), "digests": digests}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))


def _texts(passages: PassageFile, why: str) -> Iterator[str]:
    """Yield the texts to index; report progress on stderr if it takes long."""
    start = reported = time.monotonic()
    for number, passage in enumerate(passages):
        if time.monotonic() >= reported + PROGRESS_S:
            if reported == start:
                print(f"{why}: building it.", file=sys.stderr)
            reported = time.monotonic()
            print(f"  {number:,} of {len(passages):,} passages read", file=sys.stderr, flush=True)
        yield passage.searched_text
    if reported > start:
        print("  all passages read; computing their scores", file=sys.stderr, flush=True)


def _publish(corpus: Path, made: Path, folder: Path) -> None:
    """Move ``made`` to ``folder``, unless another process has put an index there meanwhile."""
    with suppress(UnusableIndex):
        open_index(corpus, folder)
        return
    with suppress(FileNotFoundError):
        folder.rename(made.with_name("old"))
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was faster
            raise
