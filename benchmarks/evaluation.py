"""Time of an evaluation against a slow server, and what is left of it after SIGKILL.

    python -m benchmarks.evaluation
    python -m benchmarks.evaluation --questions hotpotqa,folder=data --kills 10

A scripted policy plays each question twice, 256 at a time; a local server with log-normal latency
(median 600 ms, sigma 0.6) plays the search engine, in a process of its own. The floor is asyncio
and aiohttp alone, sending the same requests, as many at a time. Then `zs-env evaluate` is killed at
random moments and started again, until its records are complete: they must be those of a run that
nobody disturbed. Takes about four minutes; exits with status 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.chat_server import MODEL
from benchmarks.rollout_clients import ANSWER, SHARES, body_of
from benchmarks.rollout_latency import server, sibling
from zs_env import keyed_random
from zs_env.commands.evaluate import rare_collection
from zs_env.evaluation.record import Record
from zs_env.evaluation.run import Evaluation, Plan, evaluate
from zs_env.evaluation.store import read_records
from zs_env.llm import ChatRequest

CONCURRENCY = 256
LIMIT = 1.10
"""Longest time, as a multiple of the floor."""

NUM_RUNS = 3

MEDIAN_MS = 600.0
"""Median of the latency: a language model takes longer to write five documents."""


def policy(request: ChatRequest) -> str:
    """Search one to three times, as is drawn for the prompt, then answer."""
    num_searches = request.prefill.count("<search>")
    drawn = keyed_random.uniform("searches", request.messages[0].content)
    if num_searches < 1 + sum(drawn >= share for share in SHARES):
        return f"<think>I lack a fact.</think><search>fact {num_searches + 1}</search>"
    return ANSWER


def plan_of(questions: str, num_questions: int, base_url: str) -> Plan:
    """Return the plan of the runs that are timed."""
    engine = f"simulated,base_url={base_url},model={MODEL}"
    return Plan(
        model=policy,
        questions=[questions],
        engines=[engine],
        repeats=2,
        num_questions=num_questions,
    )


def record_bodies(plan: Plan) -> list[list[dict[str, Any]]]:
    """Return what is posted to the server for each question, turn by turn."""
    bodies: list[list[dict[str, Any]]] = []
    asked: list[dict[str, Any]] = []

    def note(request: ChatRequest) -> str:
        asked.append(body_of(request))
        return "\n".join(f"Doc {i}: page" for i in range(1, 6))

    engine = {"name": "simulated", "llm": "scripted", "script": note}

    def keep(_: Record) -> None:
        bodies.append([*asked])
        asked.clear()

    with Evaluation(replace(plan, engines=[engine])) as evaluation:
        evaluation.play(evaluation.tasks(), keep, max_concurrency=1)
    return bodies


def floor(base_url: str, bodies: Sequence[Sequence[dict[str, Any]]]) -> None:
    """Send the same bodies with asyncio and aiohttp alone."""

    async def work(session: aiohttp.ClientSession, left: Iterator[Sequence[Any]]) -> None:
        for turns in left:
            for body in turns:
                async with session.post(f"{base_url}/chat/completions", json=body) as response:
                    await response.json()

    async def work_all() -> None:
        left = iter(bodies)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(work(session, left) for _ in range(CONCURRENCY)))

    asyncio.run(work_all())


def compare_times(questions: str, num_questions: int) -> bool:
    """Print the time of an evaluation as a multiple of the floor; return whether it is short."""
    with server(median_ms=MEDIAN_MS) as url, tempfile.TemporaryDirectory() as folder:
        plan = plan_of(questions, num_questions, url)
        bodies = record_bodies(plan)
        times: list[tuple[float, float]] = []
        for number in range(NUM_RUNS):
            start = time.perf_counter()
            floor(url, bodies)
            middle = time.perf_counter()
            records = evaluate(
                plan, Path(folder) / str(number), max_concurrency=CONCURRENCY, show_progress=False
            )
            times.append((middle - start, time.perf_counter() - middle))
    least, whole = (statistics.median(column) for column in zip(*times, strict=True))
    searches = sum(len(record.searches) for record in records)
    failed = sum(record.failed for record in records)
    print(
        f"{len(records)} records, {searches} searches, {failed} failed\n"
        f"floor {least:.2f} s, evaluation {whole:.2f} s, ratio {whole / least:.2f} <= {LIMIT}",
        flush=True,
    )
    return whole / least <= LIMIT and not failed


def survive_kills(questions: str, num_questions: int, kills: int) -> bool:
    """Kill an evaluation at random moments; return whether its records are as without that."""
    draw = random.Random(0)
    with server(median_ms=MEDIAN_MS) as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [
            sys.executable, "-m", "zs_env", "evaluate", "--quiet",
            "--model", "scripted,script=benchmarks.evaluation:policy",
            "--questions", questions, "--num-questions", str(num_questions), "--repeats", "2",
            "--engine", f"simulated,base_url={url},model={MODEL}", "--folder",
        ]  # fmt: skip
        start = time.perf_counter()
        subprocess.run([*command, str(folder / "whole")], check=True, stdout=subprocess.DEVNULL)
        whole_s = time.perf_counter() - start
        usual = num_requests(url)
        for _ in range(kills):
            process = subprocess.Popen(
                [*command, str(folder / "killed")], stdout=subprocess.DEVNULL
            )
            time.sleep(draw.uniform(0.3, 1.0) * whole_s / max(kills / 2, 1))
            process.kill()
            process.wait()
        subprocess.run([*command, str(folder / "killed")], check=True, stdout=subprocess.DEVNULL)
        extra = num_requests(url) - 2 * usual
        expected, found = (
            [replace(record, seconds=0.0) for record in read_records(folder / each)]
            for each in ("whole", "killed")
        )
        lost = sum(old != new for old, new in zip(expected, found, strict=True))
    most = kills * CONCURRENCY * 3
    print(
        f"{kills} kills: {len(found)} records, {lost} differ (<= 0); {extra} requests were made "
        f"again (<= {most}, what was under way)",
        flush=True,
    )
    return not lost and extra <= most


def num_requests(url: str) -> int:
    """Return how many requests the server has got."""
    return int(json.load(urllib.request.urlopen(sibling(url, "counts")))["num_requests"])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", default="world,split=train", help="set of questions")
    parser.add_argument("--num-questions", type=int, default=2000, help="questions of it")
    parser.add_argument("--kills", type=int, default=10, help="times that a run is killed")
    options = parser.parse_args()
    with rare_collection():  # as `zs-env evaluate` does
        fast = compare_times(options.questions, options.num_questions)
    whole = survive_kills(options.questions, options.num_questions, options.kills)
    sys.exit(0 if fast and whole else 1)


if __name__ == "__main__":
    main()
