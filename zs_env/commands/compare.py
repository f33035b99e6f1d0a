"""``zs-env compare``: paired differences between evaluations of the same questions."""

from __future__ import annotations

import argparse
from pathlib import Path

from zs_env.evaluation.tables import FORMATS

NAME = "compare"
DESCRIPTION = "Compare evaluations with the first of them, question by question."

EXAMPLES = """\
examples:
  zs-env compare runs/base/evaluation runs/tuned/evaluation
  zs-env compare --any-engine --metric f1 runs/bm25 runs/google

Runs that were not asked alike are refused, with what differs. Failed records are left out in pairs.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("folders", nargs="+", type=Path, help="folders of two evaluations or more")
    parser.add_argument(
        "--any-engine", action="store_true", help="the evaluations may have had different engines"
    )
    parser.add_argument("--metric", nargs="+", help="metrics to compare by; default: all")
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="form; default: %(default)s"
    )


def run(options: argparse.Namespace) -> None:
    """Print a table for each metric.

    Raises:
        RecordError: the evaluations were not asked alike, or cannot be read.
        ValueError: there are fewer than two, or a metric is unknown.
    """
    from zs_env.checks import check_choice
    from zs_env.evaluation.compare import compare
    from zs_env.evaluation.layout import tables_of_comparison
    from zs_env.evaluation.report import read_for_comparison

    found = compare(
        [read_for_comparison(folder) for folder in options.folders], any_engine=options.any_engine
    )
    wanted = options.metric or found.metrics
    for name in wanted:
        check_choice("metric", name, found.metrics)
    tables = tables_of_comparison(found)
    chosen = [tables[found.metrics.index(name)] for name in wanted]
    print(FORMATS[options.format](chosen), end="")
