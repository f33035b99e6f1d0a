"""Benchmarks: named protocols that fix everything but the agent.

A benchmark never changes: not its questions, not its documents, not how they are played. What would
change a score is a new benchmark with a new name; its hashes, and `check_hashes`, see to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from zs_env.checks import check_choice
from zs_env.loading import Spec, parse_spec


@dataclass(frozen=True)
class Tier:
    """A part of a benchmark: questions of one difficulty, and the engine they are played with.

    Attributes:
        name: name of the tier.
        world_size: size of the embedded world.
        engine: search engine, as drivers take it.
        max_turns: turns of an episode; the answer's turn counts.
        noise: noise probability, the same for all searches.
        kinds: kinds of questions, as ``"1-hop+2-hop"``; None for all.
        hashes: what `zs_env.evaluation.benchmark_hashes.hashes_of` must find, by world seed.
    """

    name: str
    world_size: str
    engine: str
    max_turns: int
    noise: float = 0.0
    kinds: str | None = None
    hashes: Mapping[int, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """A protocol: tiers, each with worlds of several seeds.

    Questions are of the test split, and each is played once, greedily, with seed 0.

    Attributes:
        name: name with the version, ``world-v1``.
        tiers: the tiers, from easy to hard.
        num_questions: number of questions of each tier by world seed. The first world is in domain:
            agents may train on its train split. The others are out of domain.
        top_k: documents for each search.
        document_words: words of a document, approximately.
    """

    name: str
    tiers: tuple[Tier, ...]
    num_questions: Mapping[int, int]
    top_k: int = 3
    document_words: int = 15

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the worlds; the first is in domain."""
        return tuple(self.num_questions)

    def part(self, tier: Tier) -> str:
        """Return the written form of one tier, as records carry it."""
        return f"{self.name},tier={tier.name}"

    def questions(self, tier: Tier, seed: int) -> str:
        """Return the questions of ``tier`` in the world of ``seed``, as drivers take them."""
        options = {
            "world_seed": seed,
            "world_size": tier.world_size,
            "kinds": tier.kinds,
            "sample": self.num_questions[seed],
        }
        given = [f"{name}={value}" for name, value in options.items() if value is not None]
        return ",".join(["world", *given])


class Chosen(NamedTuple):
    """A benchmark, and those of its tiers that are to be played."""

    benchmark: Benchmark
    tiers: tuple[Tier, ...]


# Written by `python -m benchmarks.world_table hashes`.
_WORLD_V1_HASHES = {
    "easy": {
        0: ("300:986013dee0402546", "20e4669b129a5c50"),
        101: ("150:e89857342cf3d2a9", "1511dae593b98b76"),
        102: ("150:23d2d4c88c0fcc0e", "09ea6d961d1c2a50"),
    },
    "standard": {
        0: ("300:42a14c33c8757ce6", "924909ab3b2c5d09"),
        101: ("150:34a378e9fb829fec", "1f010e44c0987c8f"),
        102: ("150:fd231e15bb94a024", "334a1acac3b5f20c"),
    },
    "hard": {
        0: ("300:cd8e5d296d48a40b", "37b62b3125884cb0"),
        101: ("150:1e2990e55e7a76db", "77f86875ab374495"),
        102: ("150:41df44184b3fd310", "5408d1d73493f592"),
    },
}

WORLD_V1 = Benchmark(
    name="world-v1",
    tiers=(
        Tier(
            name="easy",
            world_size="small",
            kinds="1-hop+2-hop",
            engine="world",
            max_turns=5,
            hashes=_WORLD_V1_HASHES["easy"],
        ),
        Tier(
            name="standard",
            world_size="small",
            engine="bm25",
            max_turns=8,
            hashes=_WORLD_V1_HASHES["standard"],
        ),
        Tier(
            name="hard",
            world_size="hard",
            engine="world,mixture=natural",
            noise=0.5,
            max_turns=15,
            hashes=_WORLD_V1_HASHES["hard"],
        ),
    ),
    num_questions={0: 300, 101: 150, 102: 150},
)

BENCHMARKS = {benchmark.name: benchmark for benchmark in (WORLD_V1,)}
"""Benchmarks by name."""


def find_benchmark(spec: Spec) -> Chosen:
    """Return the benchmark that ``spec`` names: ``world-v1``, or ``world-v1,tier=hard``.

    Raises:
        ValueError: the benchmark or the tier is unknown; the message names the nearest.
        TypeError: an option is unknown.
    """
    name, options = parse_spec("benchmark", spec)
    check_choice("benchmark", name, BENCHMARKS)
    benchmark = BENCHMARKS[name]
    tier = options.pop("tier", None)
    if options:
        raise TypeError(
            f"the benchmark {name!r} has only the option 'tier', got {', '.join(options)}."
        )
    if tier is None:
        return Chosen(benchmark, benchmark.tiers)
    tiers = {own.name: own for own in benchmark.tiers}
    check_choice("tier", tier, tiers)
    return Chosen(benchmark, (tiers[tier],))
