"""``zs-env audit``: whether questions can be answered at all, and whether two sets overlap."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zs_env.commands.play_options import positive
from zs_env.evaluation.tables import printable

if TYPE_CHECKING:
    from zs_env.evaluation.share import Share

NAME = "audit"
DESCRIPTION = "Say which share of questions can be answered from what an engine searches."

EXAMPLES = """\
examples:
  zs-env audit --questions nq,sample=500 --engine bm25,corpus=passages.jsonl
  zs-env audit --records runs/rag runs/search
  zs-env audit --questions train.jsonl --against hotpotqa
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--questions", nargs="+", default=[], help="sets of questions, with options"
    )
    parser.add_argument("--engine", nargs="+", default=[], help="engines, with options")
    parser.add_argument(
        "--top-k", type=positive, default=5, help="documents for a question; default: %(default)s"
    )
    parser.add_argument(
        "--records",
        nargs="+",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="folders of evaluations: what their searches found",
    )
    parser.add_argument(
        "--against", metavar="QUESTIONS", help="set of questions in which the others are looked for"
    )


def run(options: argparse.Namespace) -> None:
    """Print a line for each set of questions and engine.

    Raises:
        ZeroSearchError: questions, engine or records cannot be read.
        ValueError: there is nothing to do.
    """
    if not (options.records or (options.questions and (options.engine or options.against))):
        raise ValueError("give --questions with --engine or --against, or --records.")
    sys.path.append("")  # module:Class may be in the current folder
    for spec in options.questions:
        for engine in options.engine:
            _audit(spec, engine, options.top_k)
        if options.against is not None:
            _compare(spec, options.against)
    for folder in options.records:
        _audit_records(folder)


def _audit(spec: str, engine_spec: str, top_k: int) -> None:
    from zs_env.engines import load_engine
    from zs_env.evaluation.answerability import in_corpus, in_top, with_names
    from zs_env.question_sources import load_questions, world_of

    world = world_of(spec)
    source = load_questions(spec, "test", *world)
    questions = with_names(source[number] for number in range(len(source)))
    print(f"{spec} with {engine_spec}: {len(questions):,} questions", end="")
    print(f" ({len(source) - len(questions):,} of yes or no are left out)")
    engine = load_engine(engine_spec, *world)
    try:
        passages = getattr(engine, "passages", None)
        if passages is not None:
            found = in_corpus(questions, (passage.document for passage in passages))
            _print(f"answer somewhere in {len(passages):,} passages", found)
        top = in_top(questions, engine, top_k)
        _print(f"answer in the {top_k} documents for the question", top)
        if top.total < len(questions):
            print(f"  {len(questions) - top.total:,} searches failed")
    finally:
        engine.close()


def _audit_records(folder: Path) -> None:
    from zs_env.evaluation.answerability import along_searches
    from zs_env.evaluation.store import read_records

    for (dataset, engine), share in along_searches(read_records(folder)).items():
        print(printable(f"{folder}: {dataset} with {engine}: {share.total:,} questions"))
        _print("answer in a document of the searches", share)


def _compare(spec: str, against: str) -> None:
    from zs_env.evaluation.overlap import find_overlap
    from zs_env.evaluation.share import Share
    from zs_env.question_sources import load_questions, world_of

    questions, others = (load_questions(each, "test", *world_of(each)) for each in (spec, against))
    overlap = find_overlap(questions, others)
    print(f"{spec}: {len(questions):,} questions, looked for in {len(others):,} of {against}")
    _print("in both exactly", Share(overlap.num_exact, overlap.num_questions))
    _print("in both nearly", Share(overlap.num_near, overlap.num_questions))
    for match in overlap.examples:
        kind = "exactly" if match.exact else f"nearly ({match.likeness:.2f})"
        print(printable(f"    {kind}: {match.question.text} | {match.other.text}"))


def _print(what: str, share: Share) -> None:
    print(f"  {what:<52} {share}, {share.times:,} of {share.total:,}")
