"""A server of vLLM on the CPU, in processes of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.helpers import free_port

READY_S = 3600.0
"""Starting takes half a minute, and much longer on a busy machine."""

ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # it would bind the worker of every server to one core
}


ONE_WORKER = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""The worker in the engine's process: one process less, which would take a third of the start."""


@contextlib.contextmanager
def vllm_server(model: Path, log: Path, *options: str) -> Iterator[str]:
    """The base URL of a server that calls ``model`` tiny, and writes to ``log``."""
    with VLLMServer(model, log, options) as server:
        yield f"{server.url}/v1"


class VLLMServer:
    """A server that calls ``model`` tiny, and writes to ``log``: it can be killed and restarted.

    Attributes:
        url: URL without ``/v1``; it stays the same.
    """

    def __init__(
        self,
        model: Path,
        log: Path,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        self._command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        self._command += ["--model", str(model), "--served-model-name", "tiny"]
        self._command += ["--dtype", "float32", "--enforce-eager"]
        self._command += ["--host", "127.0.0.1", "--port", str(port), *options]
        self._environment = {**os.environ, **ENVIRONMENT, **ONE_WORKER, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> VLLMServer:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self._process is not None:
            end_group(self._process)

    def start(self) -> None:
        """Start it, and wait until it can be asked."""
        with self._log.open("w") as output:
            self._process = subprocess.Popen(
                self._command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        try:
            _wait_until_ready(self._process, f"{self.url}/health", self._log)
        except BaseException:
            end_group(self._process)
            raise

    def kill(self) -> None:
        """End it at once, with all its processes."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End the process group that ``process`` leads, with what it has started."""
    for signal_number, patience_s in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 20.0)):
        deadline = time.monotonic() + patience_s
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal_number)
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.2)


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.5)
    raise RuntimeError(f"vLLM's server did not start:\n{log.read_text()[-3000:]}")
