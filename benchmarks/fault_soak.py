"""Soak test with faults: 20,000 searches against servers that misbehave.

    python -m benchmarks.fault_soak

Three of ten replies are errors of every kind (HTTP 500, 429, cut, not JSON, never ending), one of
the two servers is killed and restarted, and another process keeps a core busy. Every episode must
end, answered or with `search_failed`; the answered ones must be the same as with a server without
faults; and memory must stay flat. Takes about a minute; exits with status 1 if a check fails.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.chat_server import MODEL, documents
from benchmarks.rollout_clients import body_of, policy
from zs_env import Episode
from zs_env.engines import SearchEngine, checked_search, load_engine
from zs_env.envs.pool import EpisodePool
from zs_env.episodes import EpisodeSource
from zs_env.settings import TextSettings

FAULTS = "500,429,cut,malformed,html,no choice,hang"
NUM_EPISODES = 256
MAX_GROWTH_MB = 20.0
WARM_UP = 0.2
"""Share of the searches after which memory is first read."""

KILLED, RESTARTED = 0.4, 0.6
"""Shares of the searches after which one server is killed, and restarted."""

SPIN = "while True: pass"


class Servers:
    """Two servers with faults, on fixed ports."""

    def __init__(self) -> None:
        self.ports = [_free_port(), _free_port()]
        self.processes = [self._start(port) for port in self.ports]

    def kill(self) -> None:
        """Kill the second server."""
        self.processes[1].kill()
        self.processes[1].wait()

    def restart(self) -> None:
        """Restart the second server, on the same port."""
        self.processes[1] = self._start(self.ports[1])

    def stop(self) -> None:
        """Kill both servers."""
        for process in self.processes:
            process.kill()
            process.wait()

    def urls(self) -> list[str]:
        """Return the base URLs of both servers."""
        return [f"http://127.0.0.1:{port}/v1" for port in self.ports]

    def _start(self, port: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmarks.chat_server", "--port", str(port)]
        command += ["--median-ms", "20", "--fault-rate", "0.3", "--faults", FAULTS]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()  # its address, printed once it listens
        return process


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def resident_mb() -> float:
    """Return the resident memory of this process, in MB."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


class Soak:
    """Run of episodes, until ``num_searches`` searches were answered or failed."""

    def __init__(self, engine: SearchEngine, servers: Servers, num_searches: int) -> None:
        self.pool = EpisodePool(NUM_EPISODES, engine=engine)
        self.servers = servers
        self.num_searches = num_searches
        self.begun = 0
        self.ends: Counter[str] = Counter()
        self.transcripts: dict[tuple[str, int], int] = {}  # (question, key) -> hash
        self.searches = 0
        self.first_mb = 0.0
        self._events = [
            (WARM_UP, self._note_memory),
            (KILLED, servers.kill),
            (RESTARTED, servers.restart),
        ]

    def run(self) -> None:
        """Play the episodes."""
        self._begin(range(NUM_EPISODES), seed=0)
        while self.pool.num_running:
            ready = self.pool.recv()
            episodes = {int(i): self.pool.episode(i) for i in ready.episode_ids}
            over = [i for i, episode in episodes.items() if episode.finished]
            acting = [i for i in episodes if i not in over]
            for i in over:
                self._end(episodes[i])
            if self.searches < self.num_searches:
                self._begin(over)
            self.pool.send(acting, [policy(episodes[i]) for i in acting])

    def _begin(self, ids: range | list[int], seed: int | None = None) -> None:
        self.begun += len(ids)
        self.pool.reset(ids, seed=seed)

    def _end(self, episode: Episode) -> None:
        self.ends["search failed" if episode.search_failed else "answered"] += 1
        if not episode.search_failed:
            self.transcripts[episode.question.id, episode.key] = hash(episode.transcript)
        self.searches += episode.num_searches
        if self._events and self.searches >= self._events[0][0] * self.num_searches:
            self._events.pop(0)[1]()

    def _note_memory(self) -> None:
        self.first_mb = resident_mb()


def count_wrong(transcripts: dict[tuple[str, int], int]) -> int:
    """Count the episodes whose transcript differs from that without faults."""
    script = lambda request: documents(body_of(request))  # noqa: E731
    engine = load_engine({"name": "simulated", "llm": "scripted", "script": script})
    settings = TextSettings(engine=engine)
    source = EpisodeSource(settings, settings.limits)
    wrong = 0
    for (question_id, key), seen in transcripts.items():
        episode = source.make(source.find(question_id), key, 0.0)
        while not episode.finished:
            request = episode.act(policy(episode))
            if request is not None:
                episode.observe(checked_search(engine, [request])[0])
        wrong += hash(episode.transcript) != seen
    return wrong


def main() -> None:
    """Play, and print each figure beside its limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--searches", type=int, default=20_000, help="number of searches")
    options = parser.parse_args()
    servers = Servers()
    spinner = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        limits = {"timeout_s": 1.0, "deadline_s": 20.0, "max_attempts": 8}
        server = {"base_url": servers.urls(), "model": MODEL}
        engine = load_engine({"name": "simulated", **server, **limits})
        soak = Soak(engine, servers, options.searches)
        start = time.perf_counter()
        soak.run()
        seconds, growth = time.perf_counter() - start, resident_mb() - soak.first_mb
    finally:
        spinner.kill()
        servers.stop()
    wrong = count_wrong(soak.transcripts)
    print(f"{soak.searches:,} searches in {seconds:.0f} s")
    print(f"  episodes begun {soak.begun:,}, ended {soak.ends.total():,} {dict(soak.ends)}")
    print(f"  answered, but not as without faults: {wrong}   0")
    memory = f"{soak.first_mb:.0f} MB, then {growth:+.1f} MB   < {MAX_GROWTH_MB:.0f}"
    print(f"  memory after {WARM_UP:.0%} of them {memory}")
    engine.close()
    if wrong or growth >= MAX_GROWTH_MB or soak.begun != soak.ends.total():
        raise SystemExit(1)


if __name__ == "__main__":
    main()
