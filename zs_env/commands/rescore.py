"""``zs-env rescore``: another metric on records that were kept."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zs_env.commands.result_options import add_result_arguments, prices_of

NAME = "rescore"
DESCRIPTION = "Score the answers of a kept evaluation by other metrics; nothing is asked again."

EXAMPLES = """\
examples:
  zs-env rescore runs/rag --metric my_package.metrics:bertscore
  zs-env rescore runs/rag \\
      --metric judge,llm=openai_api,base_url=http://127.0.0.1:8000/v1,model=qwen
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("folder", type=Path, help="folder of the evaluation")
    parser.add_argument(
        "--metric",
        nargs="+",
        required=True,
        help="metrics: f1, exact_match, substring_match, squad_f1, squad_exact_match, judge with "
        "the options of a language model, module:function (prediction, golden_answers) -> float, "
        "or module:Class",
    )
    add_result_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Add the scores to the records, and print the tables.

    Raises:
        RecordError: the records are missing or damaged, or being written.
        ValueError: a metric is unknown.
    """
    from zs_env.evaluation.benchmark_table import agent_of
    from zs_env.evaluation.report import read_kept, tables_with, write_tables
    from zs_env.evaluation.scores import make_metric, score_records
    from zs_env.evaluation.store import RecordStore

    sys.path.append("")  # module:function may be in the current folder
    metrics = [make_metric(metric) for metric in options.metric]
    prices = prices_of(options)
    asked, _ = read_kept(options.folder)  # a damaged line is an error: nothing can be asked again
    with RecordStore(options.folder, asked) as store:
        scored = score_records(store.records.values(), metrics)
        store.replace(scored)
    tables = tables_with(agent_of(asked), scored, prices, options.in_domain)
    print(write_tables(options.folder, tables), end="")
