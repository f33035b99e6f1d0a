"""``zs-env simulation collect``: play training questions, and keep the searches."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zs_env.commands.evaluate import FAILED, rare_collection
from zs_env.commands.play_options import (
    add_model_arguments,
    add_run_arguments,
    given_options,
    positive,
)

NAME = "collect"
DESCRIPTION = "Play training questions on real engines, and keep what their searches found."

EXAMPLES = """\
examples:
  zs-env simulation collect --method explorer --engine bm25 --folder runs/searches
  zs-env simulation collect --model runs/ppo/checkpoints/000036 --engine bm25 --folder runs/searches
  zs-env simulation collect --model openai_api,base_url=http://127.0.0.1:8000/v1,model=qwen \\
      --questions nq,sample=5000 hotpotqa,sample=5000 --temperature 0.8 \\
      --engine cached,engine=google,folder=answers --folder runs/google

The folder holds records as those of `zs-env evaluate`, whose folders are sources of searches, too,
and searches.jsonl, one search a line. The same command again goes on where it was stopped. Failed
searches and those that found nothing are left out and counted. Exit status: 0; 1 for an error;
3 if questions failed; 130 after Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    add_model_arguments(parser)
    parser.add_argument(
        "--questions",
        nargs="+",
        default=["world"],
        help="sets of questions, as for `zs-env evaluate`; the embedded world and data sets with a "
        "name give their training questions; default: world",
    )
    parser.add_argument(
        "--engine", nargs="+", default=["bm25"], help="engines to search with; default: bm25"
    )
    parser.add_argument("--folder", type=Path, required=True, help="folder that keeps it all")
    parser.add_argument("--repeats", type=positive, default=1, help="plays of each; default: 1")
    parser.add_argument("--seed", type=int, default=0, help="seed; default: 0")
    add_run_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Collect, and print what there is.

    Raises:
        ZeroSearchError: a part of the run is not there, or the folder holds another run.
        SystemExit: questions failed.
    """
    from zs_env.evaluation.plan import Plan, make_options
    from zs_env.simulation.collect import collect
    from zs_env.simulation.searches import SEARCHES, listed

    sys.path.append("")  # module:Class may be in the current folder
    plan = Plan(
        method=options.method,
        model=options.model,
        questions=options.questions,
        engines=options.engine,
        repeats=options.repeats,
        seed=options.seed,
        num_questions=options.num_questions,
        options=make_options(options.model, given_options(options), options.episode),
    )
    with rare_collection():
        records, found = collect(
            plan,
            options.folder,
            max_concurrency=options.max_concurrency,
            retry_failed=options.retry_failed,
            show_progress=not options.quiet,
        )
    print(f"{len(found.searches)} searches of {found.episodes} episodes", end="")
    print(f"; left out: {listed(found.left_out)}" if found.left_out else "")
    print(options.folder / SEARCHES)
    if failed := sum(record.failed for record in records):
        print(f"{failed} episodes failed: --retry-failed asks them again", file=sys.stderr)
        raise SystemExit(FAILED)
