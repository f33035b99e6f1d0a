"""``zs-env index``: build the BM25 index of a corpus and save it in a folder."""

from __future__ import annotations

import argparse

NAME = "index"
DESCRIPTION = "Build the BM25 index of a corpus and save it in a folder."

CORPUS_HELP = (
    ".jsonl file with `text`, and optionally `title` and `id`, in each line; or with "
    "`contents`, as Search-R1 writes them"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.add_argument("--corpus", required=True, metavar="FILE", help=CORPUS_HELP)
    parser.add_argument(
        "--index", required=True, metavar="FOLDER", help="folder to save the index in"
    )


def run(options: argparse.Namespace) -> None:
    """Build or open the index, and print its number of passages."""
    from zs_env.engines.bm25 import load

    engine = load(options.corpus, index=options.index)
    print(f"{options.index}: the index of {len(engine.passages):,} passages of {options.corpus}")
