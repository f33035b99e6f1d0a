"""Folder of recorded values that several processes share, and in which damage is detected."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from gymnasium import logger

from zs_env.errors import MissingDependencyError, ServiceError

try:
    import diskcache
except ImportError as error:
    raise MissingDependencyError.for_extra("The engine 'cached'", "diskcache", "cache") from error

LOCK_TIMEOUT_S = 1.0
"""Seconds to wait for another process; after that, a value is not stored, or is asked again."""

DATABASE = "cache.db"


class CacheStore:
    """JSON values by key.

    A damaged value counts as missing and is stored again; a damaged database is renamed. In a
    read-only store, damage is an error, and the folder stays as it is.

    Args:
        folder: folder of the database; created if it does not exist.
        read_only: whether to create, rename and store nothing.

    Raises:
        ServiceError: the folder cannot be used; or the store is read-only, and the folder is
            missing or damaged.
    """

    def __init__(self, folder: str | Path, *, read_only: bool = False) -> None:
        self._folder = Path(folder)
        self._read_only = read_only
        if read_only:
            _check_whole(self._folder)
        try:
            _check_database(self._folder / DATABASE)
            self._cache = self._open()
        except (
            sqlite3.OperationalError,
            OSError,
        ) as error:  # locked, full, no permission
            raise ServiceError(f"{folder} cannot hold records: {error}.") from None
        except sqlite3.DatabaseError as error:
            self._start_anew(error)

    def get(self, key: str) -> Any | None:
        """Return the value of ``key``, or None.

        Raises:
            ServiceError: the store is read-only, and the value is damaged or cannot be read.
        """
        try:
            return self._read(key)
        except (diskcache.Timeout, sqlite3.OperationalError) as error:
            self._complain(f"a record could not be read: {error!r}")
        except sqlite3.DatabaseError as error:
            self._report(key, str(error))
        return None

    def add(self, key: str, value: Any) -> Any:
        """Store ``value`` (JSON) unless ``key`` has one; return the value that is stored."""
        payload = json.dumps(value)
        record = f"{_checksum(key, payload)}{payload}"
        try:
            with self._cache.transact():  # no other process stores between reading and writing
                stored = self._read(key)
                if stored is None:
                    self._cache.set(key, record)
            return value if stored is None else stored
        except (diskcache.Timeout, sqlite3.OperationalError) as error:
            logger.warn(f"{self._folder}: an answer was not recorded: {error!r}.")
        except sqlite3.DatabaseError as error:
            self._start_anew(error)
            self._cache.set(key, record)
        return value

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._cache)

    def close(self) -> None:
        """Close the connection of this thread."""
        self._cache.close()

    def _open(self) -> diskcache.Cache:
        return diskcache.Cache(
            str(self._folder),
            timeout=LOCK_TIMEOUT_S,
            disk=_TextDisk,
            disk_min_file_size=1 << 30,  # all values in the database: no file can get lost
            eviction_policy="none",
        )

    def _start_anew(self, error: Exception) -> None:
        """Rename the damaged database, and begin another."""
        if hasattr(self, "_cache"):
            with suppress(sqlite3.DatabaseError):
                self._cache.close()
        logger.warn(
            f"{self._folder} is damaged ({error}): its files are renamed to damaged-*, and answers "
            "are recorded again."
        )
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                path = self._folder / f"{DATABASE}{suffix}"
                path.replace(path.with_name(f"damaged-{path.name}"))
        self._cache = self._open()

    def _read(self, key: str) -> Any | None:
        try:
            record = self._cache.get(key)
        except (OSError, ValueError) as error:
            self._report(key, str(error))
            return None
        if record is None:
            return None
        payload = _unseal(key, record)
        if payload is None:
            self._report(key, "its checksum is wrong")
            return None
        return json.loads(payload)

    def _report(self, key: str, reason: str) -> None:
        self._complain(f"the record {key[:8]} is damaged ({reason})")

    def _complain(self, text: str) -> None:
        if self._read_only:
            raise ServiceError(f"{self._folder}: {text}; nothing was changed.")
        logger.warn(f"{self._folder}: {text}: asked again.")


class _TextDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Storage that reads text only: a pickle was not written by this module, and could run code."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if not isinstance(value, str):
            raise ValueError("it is not text")
        return value


def _check_database(path: Path) -> None:
    """Check the whole database, if it exists; raise DatabaseError if it is damaged."""
    if not path.exists():
        return
    with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as connection:
        [(verdict,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _check_whole(folder: Path) -> None:
    """Refuse a folder that holds no records, or damaged ones; change nothing in it."""
    path = folder / DATABASE
    if not path.is_file():
        raise ServiceError(
            f"{folder} holds no records: there is no {DATABASE}. Record them first, with "
            "`mode='record'`, or name the folder that holds them."
        )
    try:
        _check_database(path)
        damaged = _damaged_keys(path)
    except (sqlite3.Error, OSError) as error:
        raise ServiceError(
            f"{folder} cannot be replayed: {error}. Nothing in it was changed."
        ) from None
    if damaged:
        raise ServiceError(
            f"{folder} cannot be replayed: {len(damaged)} of its records are damaged, such as "
            f"{damaged[0][:8]}. Nothing in it was changed; with `mode='record'` they are asked "
            "for again."
        )


def _damaged_keys(path: Path) -> list[str]:
    with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as connection:
        records = connection.execute("SELECT key, value FROM Cache")
        return [str(key) for key, value in records if not _is_whole(key, value)]


def _is_whole(key: object, value: object) -> bool:
    texts = isinstance(key, str) and isinstance(value, str)
    return texts and _unseal(str(key), str(value)) is not None


def _checksum(key: str, payload: str) -> str:
    return blake2b(f"{key}{payload}".encode(), digest_size=16).hexdigest()


def _unseal(key: str, record: str) -> str | None:
    """Return the payload of ``record``; None if it is not what was stored for ``key``."""
    checksum, payload = record[:32], record[32:]
    try:
        return payload if checksum == _checksum(key, payload) else None
    except UnicodeEncodeError:
        return None
