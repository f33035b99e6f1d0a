"""``zs-env evaluate``: a method and a model on sets of questions, with any engines."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zs_env.commands.play_options import add_model_arguments, given_options, positive
from zs_env.commands.result_options import add_result_arguments, prices_of

NAME = "evaluate"
DESCRIPTION = "Play questions with a method and a model, keep the records, and print the scores."

EXAMPLES = """\
examples:
  zs-env evaluate --method solver --engine world bm25
  zs-env evaluate --model runs/ppo/checkpoints/000036 --folder runs/ppo-evaluation
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
        "--questions",
        nargs="+",
        help="sets of questions: names (see `zs-env datasets`), with options as in "
        "hotpotqa,sample=500; files; world, the embedded world; default: those that a checkpoint "
        "was tested on, or else world",
    )
    parser.add_argument(
        "--engine",
        nargs="+",
        default=["world"],
        help="engines, with options as in bm25,corpus=passages.jsonl; empty finds nothing, and "
        "random what the first engine finds for other questions; default: world",
    )
    parser.add_argument(
        "--num-questions", type=positive, help="most questions of each set; default: all"
    )
    parser.add_argument(
        "--repeats", type=positive, default=1, help="plays of each question; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed; default: %(default)s")
    parser.add_argument(
        "--folder", type=Path, help="folder that keeps records and results; default: none is kept"
    )
    parser.add_argument(
        "--max-concurrency",
        type=positive,
        default=256,
        help="most questions under way at the same time; default: %(default)s",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="ask again what failed in an earlier call"
    )
    parser.add_argument("--quiet", action="store_true", help="print no progress")
    add_result_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Evaluate, and print the table.

    Raises:
        ZeroSearchError: a part of the run is not there, or the folder holds another run.
        SystemExit: questions failed.
    """
    from zs_env.evaluation.layout import tables_of
    from zs_env.evaluation.models import questions_of_checkpoint
    from zs_env.evaluation.report import results_with, write_results
    from zs_env.evaluation.run import Plan, evaluate, make_options
    from zs_env.evaluation.tables import as_text

    sys.path.append("")  # module:Class may be in the current folder
    prices = prices_of(options)
    trained = options.model if options.episode is None else options.episode
    plan = Plan(
        method=options.method,
        model=options.model,
        questions=options.questions or [questions_of_checkpoint(trained) or "world"],
        engines=options.engine,
        repeats=options.repeats,
        seed=options.seed,
        num_questions=options.num_questions,
        options=make_options(options.model, given_options(options), options.episode),
    )
    with rare_collection():
        records = evaluate(
            plan,
            options.folder,
            max_concurrency=options.max_concurrency,
            retry_failed=options.retry_failed,
            prices=prices,
            show_progress=not options.quiet,
        )
    results = results_with(records, prices, options.in_domain)
    if options.folder is None:
        print(as_text(tables_of(results)), end="")
    else:
        print(write_results(options.folder, results), end="")
    if any(record.failed for record in records):
        raise SystemExit(FAILED)


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
