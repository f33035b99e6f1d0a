"""``zs-env index``: the BM25 index of a corpus, saved in a folder."""

from __future__ import annotations

import argparse

NAME = "index"
DESCRIPTION = "Build the BM25 index of a corpus and save it in a folder."

CORPUS_HELP = (
    "a .jsonl file with `text`, and `title` and `id` if there are any, in each line; or with "
    "`contents`, as Search-R1 writes them"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.add_argument("--corpus", required=True, metavar="FILE", help=CORPUS_HELP)
    parser.add_argument("--index", required=True, metavar="FOLDER", help="where it is saved")


def run(options: argparse.Namespace) -> None:
    """Build or open the index, and print how many passages it has."""
    from zs_env.engines.bm25 import load

    engine = load(options.corpus, index=options.index)
    print(f"{options.index}: the index of {len(engine.passages):,} passages of {options.corpus}")
