"""``zs-env simulation fidelity``: simulators beside the real engine, on held-out queries."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from zs_env.commands.evaluate import FAILED
from zs_env.commands.play_options import positive
from zs_env.commands.result_options import PRICES, prices_of
from zs_env.settings import describe
from zs_env.simulation.fidelity.asked import Asking

if TYPE_CHECKING:
    from zs_env.simulation.fidelity.measure import Fidelity

NAME = "fidelity"
DESCRIPTION = "Measure how alike simulators are to the real engine, on held-out queries."

EXAMPLES = """\
examples:
  zs-env simulation fidelity --real bm25 --simulated world world,mixture=natural \\
      --queries runs/pairs --folder runs/fidelity
  zs-env simulation fidelity --real bm25 --simulated simulated,llm=transformers_local,model=DIR \\
      --names tuned --queries runs/pairs --folder runs/fidelity
  zs-env simulation fidelity --real cached,engine=google,folder=answers --depth 5 --judge answer \\
      --simulated simulated,base_url=http://127.0.0.1:8000/v1,model=NAME \\
      --queries runs/google --price-prompt 0.1 --price-completion 0.4 --folder runs/fidelity

The folder keeps documents.jsonl, with all that was asked: the same command again asks only what is
missing or failed, and computes all figures again. It writes fidelity.md, fidelity.json and
fidelity.png. docs/fidelity.md says what each figure is. Needs the extra `fidelity`. Exit status: 0;
1 for an error; 3 if searches failed; 130 after Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--real", default="bm25", metavar="ENGINE", help="real engine; default: %(default)s"
    )
    parser.add_argument(
        "--simulated", nargs="+", required=True, metavar="ENGINE", help="simulators, with options"
    )
    parser.add_argument(
        "--names", nargs="+", help="names of the simulators in tables; default: as they are given"
    )
    parser.add_argument(
        "--queries",
        type=Path,
        required=True,
        metavar="SOURCE",
        help="folder of pairs, whose held-out queries are asked, or of searches; or a file of them",
    )
    parser.add_argument(
        "--num-queries", type=positive, default=1_000, help="most queries; default: %(default)s"
    )
    documentation = describe(Asking)
    for declared in fields(Asking):
        text = documentation[declared.name].replace("`", "")
        parser.add_argument(
            f"--{declared.name.replace('_', '-')}",
            type=int,
            default=declared.default,
            metavar="N",
            help=f"{text[0].lower()}{text[1:-1]}; default: %(default)s",
        )
    parser.add_argument(
        "--judge",
        default="auto",
        help="judge of what documents state, see `zs-env simulation judge`; auto: world for "
        "queries about the embedded world, else answer; default: %(default)s",
    )
    parser.add_argument(
        "--only-with-answers",
        action="store_true",
        help="do not ask simulators again without golden answers in the prompt",
    )
    parser.add_argument("--folder", type=Path, help="folder for documents and report")
    parser.add_argument("--quiet", action="store_true", help="print no progress")
    group = parser.add_argument_group("prices")
    for name, what in PRICES.items():
        group.add_argument(f"--price-{name}", type=float, metavar="N", help=f"price of {what}")


def run(options: argparse.Namespace) -> None:
    """Measure, write the report, and print its tables.

    Raises:
        ZeroSearchError: an extra, an engine, a judge or the source cannot be used.
        ValueError: an option is out of its range.
        SystemExit: searches failed.
    """
    from zs_env.evaluation.tables import as_text
    from zs_env.report.fidelity import draw_fidelity, require_matplotlib
    from zs_env.simulation.fidelity.page import PICTURE, rows_of, tables_of, write_report

    sys.path.append("")  # module:Class may be in the current folder
    if options.folder is not None:
        require_matplotlib()
    fidelity = _measure(options)
    print(as_text(tables_of(fidelity)), end="")
    if options.folder is not None:
        draw_fidelity(options.folder / PICTURE, rows_of(fidelity))
        for path in write_report(options.folder, fidelity, PICTURE):
            print(path)
        print(options.folder / PICTURE)
    for column in fidelity.columns:
        if column.gave_up:
            print(column.gave_up, file=sys.stderr)
    if fidelity.failed:
        print(
            f"{fidelity.failed} searches failed: the same command asks them again", file=sys.stderr
        )
        raise SystemExit(FAILED)


def _measure(options: argparse.Namespace) -> Fidelity:
    from zs_env.evaluation.labels import label_of
    from zs_env.simulation.fidelity.measure import Engines, check_names, measure_fidelity
    from zs_env.simulation.fidelity.progress import AskingProgress
    from zs_env.simulation.fidelity.queries import read_queries
    from zs_env.simulation.judges import load_judge

    names = options.names or [label_of("engine", engine) for engine in options.simulated]
    if len(names) != len(options.simulated):
        raise ValueError(
            f"give a name for each simulator: {len(options.simulated)}, got {len(names)}."
        )
    check_names(names)
    asking = Asking(options.top_k, options.document_words, options.depth, options.seed)
    queries = read_queries(options.queries, options.num_queries, options.seed)
    spec = options.judge
    if spec == "auto":
        spec = "answer" if queries.world is None else "world"
    judge = load_judge(spec)
    engines = Engines(
        options.real,
        dict(zip(names, options.simulated, strict=True)),
        blind=not options.only_with_answers,
    )
    progress = None if options.quiet else AskingProgress(engines.steps(queries, judge))
    try:
        return measure_fidelity(
            engines,
            queries,
            asking,
            judge,
            folder=options.folder,
            prices=prices_of(options),
            watch=progress,
        )
    finally:
        if progress is not None:
            progress.close()
        judge.close()
