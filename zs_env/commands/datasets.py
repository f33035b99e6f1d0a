"""``zs-env datasets``: the data sets that have a name, and where they are found."""

from __future__ import annotations

import argparse

from zs_env.datasets import DATASETS, Dataset

NAME = "datasets"
DESCRIPTION = "List the data sets that have a name, and where they are found; uses no network."

HEADINGS = ("name", "split", "questions", "hops", "trained on", "licence", "found in")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``: none."""
    from zs_env.dataset_places import DATA_FOLDER

    parser.epilog = (
        f"Data sets are found in the folder {DATA_FOLDER} and in the cache of the Hugging Face "
        "hub; others are downloaded when they are used. The split is the one read by default."
    )


def run(options: argparse.Namespace) -> None:
    """Print a table of the data sets.

    Raises:
        QuestionSourceError: ``ZS_ENV_DATA`` names no folder.
    """
    rows = [HEADINGS, *(_describe(dataset) for dataset in DATASETS.values())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _describe(dataset: Dataset) -> tuple[str, ...]:
    from zs_env.dataset_places import describe_place

    split = dataset.evaluation_split
    return (
        dataset.name,
        split,
        f"{dataset.splits[split]:,}",
        ", ".join(map(str, dataset.hops)),
        "yes" if dataset.in_domain else "no",
        dataset.licence,
        describe_place(dataset) or f"not at hand; hub: {dataset.hub}",
    )
