"""Time and memory of BM25 over a million passages: to build, to open and to search the index.

    python -m benchmarks.bm25_million [--passages 1000000]

Takes one to two minutes and 1.5 GB of memory; the files, 0.6 GB, are in a temporary folder. The
text is drawn from a seed: passages of 30 to 60 words of a vocabulary of 300,000, whose frequencies
fall as those of English words do. A query is eight words of one passage, so most queries have
frequent words. Each stage runs in a process of its own; searches run on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from zs_env.world.text import vocabulary

NUM_WORDS = 300_000
NUM_QUERIES = 1000
NUM_CHECKED = 50
QUERY_WORDS = 8
TOP_K = 5
BATCH = 10_000


def make_words() -> list[str]:
    """Return the words by frequency: English stop words, the world's words, made-up words."""
    from bm25s.stopwords import STOPWORDS_EN

    known = [*STOPWORDS_EN, *filter(str.isalpha, vocabulary())]
    syllables = [consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiou"]
    made_up = ("".join(parts) for length in (3, 4) for parts in product(syllables, repeat=length))
    return list(dict.fromkeys([*known, *islice(made_up, NUM_WORDS)]))[:NUM_WORDS]


def write_corpus(path: Path, num_passages: int) -> None:
    """Write passages whose words follow the law of Zipf and Mandelbrot."""
    rng = np.random.default_rng(0)
    words = np.array(make_words(), dtype=object)
    shares = np.cumsum(1 / (np.arange(NUM_WORDS) + 2.7) ** 1.07)
    with path.open("w") as file:
        for first in range(0, num_passages, BATCH):
            lengths = rng.integers(30, 61, min(BATCH, num_passages - first))
            ranks = np.searchsorted(shares, rng.random(lengths.sum()) * shares[-1])
            drawn = iter(words[ranks].tolist())
            for number, length in enumerate(lengths.tolist(), start=first):
                title, text = (" ".join(islice(drawn, count)) for count in (2, length - 2))
                contents = f'"{title}"\n{text}'
                file.write(json.dumps({"id": str(number), "contents": contents}) + "\n")


def in_fresh_process(function: Callable[..., Any], *arguments: object) -> Any:
    """Call ``function`` in a process that has imported nothing yet, and return its result."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()


def memory_mb(field: str) -> float:
    """Return a field of /proc/self/status: VmHWM (peak), VmRSS, RssAnon (no mapped files)."""
    status = Path("/proc/self/status")
    match = re.search(rf"{field}:\s*(\d+)", status.read_text()) if status.exists() else None
    return int(match[1]) / 1024 if match else float("nan")


def build(corpus: Path, folder: Path) -> tuple[float, float]:
    """Build the index; return the seconds, imports included, and the peak of memory in MB."""
    start = time.perf_counter()
    from zs_env.engines.bm25 import load  # its time counts

    load(corpus, index=folder)
    return time.perf_counter() - start, memory_mb("VmHWM")


def use(corpus: Path, folder: Path) -> dict[str, Any]:
    """Open the index, search it, and compare with full scoring; return seconds and MB."""
    if hasattr(os, "sched_setaffinity"):  # run on one core
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    start = time.perf_counter()
    from zs_env.engines.bm25 import load
    from zs_env.engines.bm25_index import score_texts

    engine = load(corpus, index=folder)
    figures: dict[str, Any] = {"open_s": time.perf_counter() - start}
    figures["open_mb"] = memory_mb("VmRSS"), memory_mb("RssAnon")

    rng = random.Random(0)
    numbers = rng.sample(range(len(engine.passages)), min(NUM_QUERIES, len(engine.passages)))
    texts = [passage.searched_text for passage in engine.passages.read(numbers)]
    queries = [" ".join(rng.sample(text.split(), QUERY_WORDS)) for text in texts]
    seconds = []
    for query in queries:
        start = time.perf_counter()
        engine.rank(query, TOP_K)
        seconds.append(time.perf_counter() - start)
    figures["searched_mb"] = memory_mb("VmRSS"), memory_mb("RssAnon")
    figures["seconds"] = seconds

    figures["same"] = 0
    for query in queries[:NUM_CHECKED]:
        scores = score_texts(engine.index, query)
        assert scores is not None
        best = np.argsort(-scores, kind="stable")[:TOP_K].tolist()
        found = [passage.id for passage, _ in engine.rank(query, TOP_K)]
        figures["same"] += found == [str(number) for number in best]
    return figures


def main() -> None:
    """Print every figure beside its limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--passages", type=int, default=1_000_000, help="number of passages")
    num_passages = parser.parse_args().passages
    with tempfile.TemporaryDirectory() as temporary:
        corpus, folder = Path(temporary, "passages.jsonl"), Path(temporary, "index")
        write_corpus(corpus, num_passages)
        seconds, peak = in_fresh_process(build, corpus, folder)
        figures = in_fresh_process(use, corpus, folder)
        index_mb = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        corpus_mb = corpus.stat().st_size / 1e6
    taken = figures["seconds"]
    print(f"BM25 over {num_passages:,} passages ({corpus_mb:,.0f} MB)       limit for 1,000,000")
    print(f"  build the index        {seconds:>10.1f} s     < 600 s")
    print(f"  peak memory of that    {peak:>10,.0f} MB")
    print(f"  size of the index      {index_mb:>10,.0f} MB")
    print(f"  open it                {figures['open_s']:>10.2f} s     < 5 s")
    print(f"  searches a second      {len(taken) / sum(taken):>10,.0f}       >= 50, on one core")
    print(f"  slowest search         {max(taken) * 1000:>10.1f} ms")
    for name, key in (("when open", "open_mb"), (f"after {len(taken):,}", "searched_mb")):
        resident, own = figures[key]
        print(f"  memory {name:<15} {resident:>10,.0f} MB    {own:,.0f} MB without mapped files")
    print(f"  same as full scoring   {figures['same']:>7} of {NUM_CHECKED}")


if __name__ == "__main__":
    main()
