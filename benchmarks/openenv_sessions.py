"""Speed of concurrent episodes over OpenEnv, with a server in a process of its own.

    python -m benchmarks.openenv_sessions --sessions 400 --episodes 2

Needs the extra ``openenv``. Each session plays its episodes one after the other, of four turns:
three searches in the embedded world, and an answer. Prints a row for the documentation. All clients
share one process. CPU times are read from ``/proc``, so this needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from zs_env.adapters.openenv.client import ZeroSearchClient

SEARCH = "<think>I need a fact.</think><search>birthplace of Ada Blake</search>"
TURNS = [SEARCH, SEARCH, SEARCH, "<answer>Jarrow Corvale</answer>"]


async def play(url: str, session: int, num_episodes: int) -> int:
    """Play the episodes of one session, and return the number of steps."""
    steps = 0
    async with ZeroSearchClient(url) as env:
        for episode in range(num_episodes):
            await env.reset(seed=session * num_episodes + episode)
            for turn in TURNS:
                steps += 1
                result = await env.step(turn)
            assert result.done
    return steps


async def play_all(url: str, sessions: int, episodes: int) -> int:
    """Play all sessions at the same time, and return the number of steps."""
    return sum(await asyncio.gather(*(play(url, i, episodes) for i in range(sessions))))


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=400)
    parser.add_argument("--episodes", type=int, default=2)
    options = parser.parse_args()
    command = [sys.executable, "-m", "zs_env", "serve", "--port", "0"]
    command += ["--max-sessions", str(options.sessions)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().removeprefix("serving at ").strip()
        asyncio.run(play_all(url, 1, 1))  # the server prints its address before it is ready
        pids = server.pid, os.getpid()
        start, before = time.perf_counter(), [cpu_s(pid) for pid in pids]
        steps = asyncio.run(play_all(url, options.sessions, options.episodes))
        wall = time.perf_counter() - start
        used = [1000 * (cpu_s(pid) - then) / steps for pid, then in zip(pids, before, strict=True)]
        server.terminate()
    print(
        f"| {options.sessions} sessions, {options.sessions * options.episodes} episodes | "
        f"{steps / wall:.0f} steps a second; CPU time of a step {used[0]:.2f} ms in the server, "
        f"{used[1]:.2f} ms in the clients |"
    )


if __name__ == "__main__":
    main()
