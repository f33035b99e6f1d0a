"""``zs-env evaluate``: a method and a model on sets of questions, with any engines."""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zs_env.commands.play_options import (
    add_model_arguments,
    add_run_arguments,
    given_options,
    positive,
)
from zs_env.commands.result_options import add_result_arguments, prices_of

if TYPE_CHECKING:
    from zs_env.evaluation.plan import Plan

NAME = "evaluate"
DESCRIPTION = "Play questions with a method and a model, keep the records, and print the scores."

EXAMPLES = """\
examples:
  zs-env evaluate --method solver --engine world bm25
  zs-env evaluate --model runs/ppo/checkpoints/000036 --folder runs/ppo-evaluation
  zs-env evaluate --benchmark world-v1 --method careful
  zs-env evaluate --method rag --model openai_api,base_url=http://127.0.0.1:8000/v1,model=qwen \\
      --questions nq,sample=500 hotpotqa,sample=500 --engine bm25,corpus=passages.jsonl google \\
      --repeats 4 --temperature 0.7 --folder runs/rag

The same command again goes on where it was stopped. Failed searches and models are counted apart
and never scored; --retry-failed asks them again. Exit status: 0; 1 for an error; 3 if questions
failed; 130 after Ctrl-C.
"""

GARBAGE_THRESHOLD = 50_000
"""Number of new objects after which Python looks for garbage."""

FAILED = 3
"""Exit status of a run in which questions failed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    add_model_arguments(parser)
    parser.add_argument(
        "--benchmark",
        help="protocol that fixes questions, engines, noise and turns: world-v1, or a tier of it, "
        "as in world-v1,tier=hard",
    )
    parser.add_argument(
        "--questions",
        nargs="+",
        help="sets of questions: names (see `zs-env datasets`), with options as in "
        "hotpotqa,sample=500; files; world, the embedded world; default: those that a checkpoint "
        "was tested on, or else world",
    )
    parser.add_argument(
        "--engine",
        nargs="+",
        help="engines, with options as in bm25,corpus=passages.jsonl; empty finds nothing, and "
        "random what the first engine finds for other questions; default: world",
    )
    parser.add_argument("--repeats", type=positive, help="plays of each question; default: 1")
    parser.add_argument("--seed", type=int, help="seed; default: 0")
    parser.add_argument(
        "--folder", type=Path, help="folder that keeps records and results; default: none is kept"
    )
    add_run_arguments(parser)
    add_result_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Evaluate, and print the table.

    Raises:
        ZeroSearchError: a part of the run is not there, or the folder holds another run.
        SystemExit: questions failed.
    """
    from zs_env.evaluation.benchmark_table import agent_of
    from zs_env.evaluation.report import tables_with, write_tables
    from zs_env.evaluation.run import evaluate
    from zs_env.evaluation.store import read_run

    sys.path.append("")  # module:Class may be in the current folder
    prices = prices_of(options)
    plan = _plan_of(options) if options.benchmark is None else _plans_of(options)
    # Also without a folder: what was asked says what the agent is called.
    with tempfile.TemporaryDirectory() as temporary, rare_collection():
        folder = options.folder or Path(temporary)
        records = evaluate(
            plan,
            folder,
            max_concurrency=options.max_concurrency,
            retry_failed=options.retry_failed,
            prices=prices,
            show_progress=not options.quiet,
        )
        agent = agent_of(read_run(folder))
        tables = tables_with(agent, records, prices, options.in_domain)
        print(write_tables(folder, tables), end="")
    if any(record.failed for record in records):
        raise SystemExit(FAILED)


def _plan_of(options: argparse.Namespace) -> Plan:
    from zs_env.evaluation.models import questions_of_checkpoint
    from zs_env.evaluation.plan import Plan, make_options

    trained = options.model if options.episode is None else options.episode
    return Plan(
        method=options.method,
        model=options.model,
        questions=options.questions or [questions_of_checkpoint(trained) or "world"],
        engines=options.engine or ["world"],
        repeats=options.repeats or 1,
        seed=options.seed or 0,
        num_questions=options.num_questions,
        options=make_options(options.model, given_options(options), options.episode),
    )


def _plans_of(options: argparse.Namespace) -> list[Plan]:
    """Return the plans of the benchmark."""
    from zs_env.evaluation.benchmark_plans import FIXED, plans_of
    from zs_env.evaluation.benchmarks import find_benchmark

    chosen = find_benchmark(options.benchmark)
    given = {name: getattr(options, name, None) for name in FIXED}
    given = {name: value for name, value in given.items() if value is not None}
    return plans_of(
        chosen, options.method, options.model, given | given_options(options), options.episode
    )


@contextmanager
def rare_collection() -> Iterator[None]:
    """Have Python look for garbage less often in the block.

    With questions under way by the hundred it takes a quarter of the time, and finds next to none.
    """
    threshold = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()
