"""``zs-env results``: the tables of a kept evaluation."""

from __future__ import annotations

import argparse
from pathlib import Path

from zs_env.commands.result_options import add_result_arguments, prices_of
from zs_env.evaluation.tables import FORMATS

NAME = "results"
DESCRIPTION = "Print the tables of an evaluation that was kept; nothing is asked again."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.add_argument("folder", type=Path, help="folder of the evaluation")
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="form; default: %(default)s"
    )
    add_result_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Print the tables.

    Raises:
        RecordError: the records are missing or damaged.
    """
    from zs_env.evaluation.benchmark_table import agent_of
    from zs_env.evaluation.report import read_kept, tables_with

    asked, records = read_kept(options.folder)
    tables = tables_with(agent_of(asked), records, prices_of(options), options.in_domain)
    print(FORMATS[options.format](tables), end="")
