"""Folders of runs, each with a lock: only one run at a time writes to a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gymnasium import logger

from agents.training.errors import CheckpointError

LOCK = ".lock"
"""File that a run locks; it names the process, and is not removed afterwards."""

TAKEN = (errno.EACCES, errno.EAGAIN)


def check_folder(folder: Path) -> None:
    """Check that a run may use ``folder``, without making it.

    Raises:
        CheckpointError: the path is that of a file, or another run writes to the folder.
    """
    for path in (folder, *folder.parents):
        if path.exists():
            if not path.is_dir():
                raise CheckpointError(f"`folder` must be a folder, and {path} is a file.")
            break
    if (folder / LOCK).is_file():
        with open_folder(folder):
            pass


@contextmanager
def open_folder(folder: Path) -> Iterator[None]:
    """Make ``folder`` if it does not exist, and hold its lock.

    The operating system frees the lock when the process ends, even if it is killed.

    Raises:
        CheckpointError: the folder cannot be made or written to, or another run holds its lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise CheckpointError(f"`folder` {folder} cannot be used: {error}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in TAKEN:
                file.seek(0)
                raise CheckpointError(
                    f"{folder} is in use by {file.read() or 'another process'}: let it end, or "
                    "choose another --folder."
                ) from None
            # Some network file systems have no locks: warn, and train without.
            logger.warn(f"{folder} cannot be locked against other runs: {error}.")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
