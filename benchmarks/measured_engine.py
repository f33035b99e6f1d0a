"""Any engine, kept within reach: a run makes its engine itself, and a benchmark reads its usage.

Engine ``benchmarks.measured_engine:load``, with the option ``engine``, written as ever.
"""

from __future__ import annotations

from zs_env.engines import SearchEngine, load_engine
from zs_env.llm import ChatRequest
from zs_env.loading import Spec

ENGINES: list[SearchEngine] = []
"""Engines that were made, in order."""


def load(engine: Spec) -> SearchEngine:
    """Make the engine, and keep it in `ENGINES`."""
    made = load_engine(engine)
    ENGINES.append(made)
    return made


def scripted_documents(request: ChatRequest) -> str:
    """Return documents without a language model, for where there is no GPU to run one."""
    return "\n".join(f"Doc {number}: This person was born in 1950." for number in range(1, 6))
