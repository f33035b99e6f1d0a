"""``zs-env simulation judge``: useful or noisy, for each search."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from zs_env.commands.evaluate import FAILED
from zs_env.commands.play_options import positive

NAME = "judge"
DESCRIPTION = "Judge whether what searches found is useful or noisy, and compare judges."

EXAMPLES = """\
examples:
  zs-env simulation judge runs/searches --judge world
  zs-env simulation judge runs/searches --compare answer world
  zs-env simulation judge runs/searches --judge llm,llm=openai_api,model=qwen,template=judge.txt
  zs-env simulation judge runs/google --judge answer --top-k 5
  zs-env simulation judge searches.jsonl --judge my_module:my_judge --output runs/judged

judges:
  world            a document states a fact of the embedded world that the query asks for; exact
  answer           a golden answer occurs in a document
  llm              a language model says so (options: llm, those of the model, template, name)
  module:function  a function of yours, from a CollectedSearch to true, false or None

Each verdict is kept as it comes: the same command again asks only what is missing. Verdicts of all
judges are in judged.jsonl: of each judge those of its last call. Exit status: 0; 1 for an error;
3 if searches could not be judged; 130 after Ctrl-C.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument(
        "source", type=Path, help="folder of records or of searches, or a file of searches"
    )
    parser.add_argument("--judge", nargs="+", default=[], help="judges, see below")
    parser.add_argument(
        "--top-k",
        type=positive,
        metavar="N",
        help="first documents of a search that are judged, as many as pairs will have (`pairs "
        "--top-k`); those behind them are noise outside the embedded world; default: all",
    )
    parser.add_argument(
        "--output", type=Path, help="folder for the verdicts; default: that of the source"
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("JUDGE", "JUDGE"),
        help="names of two judges to compare: agreement, Cohen's kappa, and the searches on which "
        "they differ, in differing-FIRST-SECOND.jsonl; judges that have not judged yet do so",
    )
    parser.add_argument(
        "--retry", action="store_true", help="ask again where a judge gave no verdict"
    )
    parser.add_argument("--quiet", action="store_true", help="print no progress")


def run(options: argparse.Namespace) -> None:
    """Judge, compare, and print what came out.

    Raises:
        ZeroSearchError: the source or a judge cannot be used.
        ValueError: there is nothing to do.
        SystemExit: searches could not be judged.
    """
    sys.path.append("")  # module:function may be in the current folder
    if not options.judge and not options.compare:
        raise ValueError("give judges with `--judge`, such as world, or two with `--compare`.")
    folder = options.output or (
        options.source if options.source.is_dir() else options.source.parent
    )
    failed = sum(_judge(judge, options) for judge in options.judge)
    if options.compare:
        first, second = options.compare
        _compare(folder, first, second, options)
    if failed:
        raise SystemExit(FAILED)


def _judge(spec: str, options: argparse.Namespace) -> int:
    """Judge, print what came out, and return the number of searches that could not be judged."""
    from zs_env.evaluation.progress import CountProgress
    from zs_env.simulation.judges import load_judge
    from zs_env.simulation.searches import listed
    from zs_env.simulation.verdicts import NOT_ASKED, judge_source

    judge = load_judge(spec)
    progress = None if options.quiet else CountProgress("searches judged")
    try:
        judged = judge_source(
            options.source,
            judge,
            options.output,
            top_k=options.top_k,
            retry=options.retry,
            watch=progress,
        )
    finally:
        if progress is not None:
            progress.close()
        judge.close()
    total = judged.useful + judged.noisy
    share = f" ({judged.noisy / total:.1%})" if total else ""
    print(f"{judge.name}: {judged.useful} useful, {judged.noisy} noisy{share}", end="")
    print(f"; left out: {listed(judged.left_out)}" if judged.left_out else "")
    print(judged.path)
    if judged.warning:
        print(f"warning: {judged.warning}", file=sys.stderr)
    if judged.silence:
        wrote = f", and wrote {judge.unread!r}" if judge.unread else ""
        print(f"warning: {judged.silence}{wrote}", file=sys.stderr)
    if failed := judged.left_out[NOT_ASKED]:
        reason = f": {judge.failure}" if judge.failure else ""
        print(
            f"{failed} searches could not be judged: the same command asks again{reason}",
            file=sys.stderr,
        )
    return failed


def _compare(folder: Path, first: str, second: str, options: argparse.Namespace) -> None:
    from zs_env.files import replace_file
    from zs_env.simulation.agreement import compare_judges
    from zs_env.simulation.judges import JUDGES
    from zs_env.simulation.searches import JUDGED, read_searches, write_searches

    known: set[str] = set()
    if (folder / JUDGED).is_file():
        known = {name for s in read_searches(folder / JUDGED).searches for name in s.verdicts}
    for name in (first, second):
        if name not in known and name in JUDGES and name != "llm":
            _judge(name, options)
    found = compare_judges(read_searches(folder / JUDGED).searches, first, second)
    replace_file(
        folder / f"agreement-{first}-{second}.json",
        (json.dumps(found.as_json(), indent=1) + "\n").encode(),
    )
    path = folder / f"differing-{first}-{second}.jsonl"
    write_searches(path, found.differing)
    print(found)
    print(f"{len(found.differing)} searches on which they differ: {path}")
