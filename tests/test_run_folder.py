"""The folder of a run: one process at a time, for as long as it lives."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from agents.training.errors import CheckpointError
from agents.training.folder import LOCK, check_folder, open_folder

ROOT = Path(__file__).parent.parent

HOLD = """
import sys, time
from pathlib import Path
from agents.training.folder import open_folder
with open_folder(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of ``tmp_path``."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


@pytest.mark.parametrize("use", [check_folder, lambda folder: open_folder(folder).__enter__()])
def test_folder_of_another_process_is_refused_and_the_process_named(holder, tmp_path, use):
    message = f"is in use by process {holder.pid} on {re.escape(socket.gethostname())}: let it end"
    for _ in range(2):  # to be refused does not take the lock away
        with pytest.raises(CheckpointError, match=message):
            use(tmp_path)


def test_folder_is_free_when_its_process_is_killed(holder, tmp_path):
    holder.kill()
    holder.wait()
    check_folder(tmp_path)
    with open_folder(tmp_path):
        assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} on ")


def test_folder_is_refused_to_a_second_run_of_the_same_process(tmp_path):
    with open_folder(tmp_path):
        for use in (check_folder, lambda folder: open_folder(folder).__enter__()):
            with pytest.raises(CheckpointError, match=f"in use by process {os.getpid()}"):
                use(tmp_path)
    with open_folder(tmp_path):
        pass


def test_folder_is_made_when_it_is_opened_and_not_when_it_is_checked(tmp_path):
    folder = tmp_path / "a" / "b"
    check_folder(folder)
    assert list(tmp_path.iterdir()) == []
    with open_folder(folder):
        assert folder.is_dir()


@pytest.mark.parametrize("name", ["file", "file/run", "file/a/b"])
def test_folder_that_is_a_file_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"`folder` must be a folder, and .*file is a file"):
        check_folder(tmp_path / name)
    with pytest.raises(CheckpointError, match="`folder` .* cannot be used"):
        open_folder(tmp_path / name).__enter__()


def test_folder_on_a_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr("agents.training.folder.fcntl.flock", refuse)
    with pytest.warns(UserWarning, match="cannot be locked"), open_folder(tmp_path):
        assert tmp_path.is_dir()


def torchrun(folder):
    options = [
        "--updates", "1", "--questions-per-update", "8", "--minibatches", "2", "--max-turns", "2",
        "--max-context", "400", "--test-engines", "world", "--num-test-questions", "2",
        "--device", "cpu", "--folder", str(folder),
    ]  # fmt: skip
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run(
        [sys.executable, *launcher, "-m", "agents.reinforce", *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_folder_is_refused_to_all_ranks_of_torchrun_and_shared_by_them(holder, tmp_path):
    refused = torchrun(tmp_path)
    assert refused.returncode != 0
    said = f"error: {tmp_path} is in use by process {holder.pid}"
    # torchrun may end the other rank before it can say the same.
    assert refused.stderr.count(said) in (1, 2), refused.stderr
    holder.kill()
    holder.wait()
    trained = torchrun(tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "report.md").is_file()
