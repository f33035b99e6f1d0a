"""``zs-env simulation pairs``: balanced pairs of judged searches, in the forms of tuners."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from zs_env.settings import describe
from zs_env.simulation.recipe import Recipe

NAME = "pairs"
DESCRIPTION = "Make pairs of prompt and documents from judged searches, to tune a simulation LLM."

EXAMPLES = """\
examples:
  zs-env simulation pairs runs/searches --folder runs/pairs
  zs-env simulation pairs runs/searches --template world --hide-answer-from-noisy \\
      --swap-share 0.35 --random-answer-share 1 --page-share 0.12 --folder runs/pairs
  zs-env simulation pairs runs/google --judge llm --deeper none --top-k 5 \\
      --licence cc-by-sa-4.0 --folder runs/pairs

The folder has train.jsonl and held_out.jsonl (prompt and completion as texts, and all that is known
of a pair), the same in the conversational form of TRL (trl_*.jsonl), as chat messages
(chat_*.jsonl) and in the alpaca form of LLaMA-Factory with its dataset_info.json, and a card:
README.md and card.json, which is written last.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument(
        "source", type=Path, help="folder or file of searches that are judged, see `judge`"
    )
    parser.add_argument("--folder", type=Path, required=True, help="folder for the pairs")
    parser.add_argument(
        "--judge", help="name of the judge whose verdicts count; default: the only one there is"
    )
    parser.add_argument(
        "--deeper",
        default="auto",
        metavar="ENGINE",
        help="engine that is asked for more results of each query, once for each, with options as "
        "in bm25,corpus=passages.jsonl; auto: the one that was searched, if it is BM25, which "
        "costs nothing; none: noise comes only from what the searches hold; default: auto",
    )
    parser.add_argument(
        "--licence", help="licence of the pairs, for the card; default: unknown, if not ours"
    )
    parser.add_argument("--quiet", action="store_true", help="print no progress")
    group = parser.add_argument_group("recipe")
    documentation = describe(Recipe)
    for declared in fields(Recipe):
        text = documentation[declared.name].replace("%", "%%").replace("`", "")
        name = f"--{declared.name.replace('_', '-')}"
        shown = f"{text[0].lower()}{text[1:-1]}"
        if isinstance(declared.default, bool):
            group.add_argument(name, action="store_true", help=shown)
            continue
        if isinstance(declared.default, tuple):
            default = " ".join(map(str, declared.default))
            text = f"{shown}; default: {default}"
            group.add_argument(
                name, type=int, nargs="+", default=declared.default, metavar="N", help=text
            )
            continue
        kind = float if "share" in declared.name else type(declared.default)
        group.add_argument(
            name,
            type=float if declared.name == "held_out_entities" else kind,
            default=declared.default,
            metavar="TEXT" if kind is str else "N",
            help=f"{shown}; default: %(default)s",
        )


def run(options: argparse.Namespace) -> None:
    """Make the pairs, and print how many there are.

    Raises:
        ZeroSearchError: the source cannot be read, or gives pairs of one label only.
        ValueError: an option is out of its range, or the judge is not known.
    """
    from zs_env.evaluation.progress import CountProgress
    from zs_env.simulation.card import make_card, warnings_of
    from zs_env.simulation.export import write_pairs
    from zs_env.simulation.make_pairs import make_pairs
    from zs_env.simulation.searches import listed, read_searches
    from zs_env.simulation.verdicts import identity_of_judge

    sys.path.append("")  # module:Class may be in the current folder
    given = {declared.name: getattr(options, declared.name) for declared in fields(Recipe)}
    recipe = Recipe(**{**given, "top_k": tuple(options.top_k)})
    found = read_searches(options.source)
    judge = _judge_of(options.judge, {name for s in found.searches for name in s.verdicts})
    progress = None if options.quiet else CountProgress("queries asked again")
    try:
        made = make_pairs(found.searches, judge, recipe, options.deeper, progress)
    finally:
        if progress is not None:
            progress.close()
    source = options.source if options.source.is_dir() else options.source.parent
    identity = identity_of_judge(source, judge)
    card = make_card(found, made, recipe, judge, options.licence, identity)
    write_pairs(options.folder, made.pairs, card)
    for split, told in card["pairs"].items():
        for row in told["counts"]:
            print(f"{split:9} {row['label']:7} {row['hop']:8} {row['origin']:8} {row['pairs']:7}")
        print(f"{split:9} {'all':25} {told['total']:7}")
    print(f"searches left out: {listed(made.left_out) or 'none'}")
    print(f"pairs left out: {listed(made.pairs_left_out) or 'none'}")
    for warning in warnings_of(card):
        print(f"warning: {warning}", file=sys.stderr)
    print(options.folder)


def _judge_of(name: str | None, known: set[str]) -> str:
    from zs_env.checks import check_choice
    from zs_env.errors import SimulationDataError

    if not known:
        raise SimulationDataError(
            "the searches are not judged: `zs-env simulation judge SOURCE --judge world`, or "
            "another judge, does so."
        )
    if name is None and len(known) == 1:
        return next(iter(known))
    if name is None:
        raise ValueError(
            f"give the judge whose verdicts count: `--judge {' or '.join(sorted(known))}`."
        )
    check_choice("judge", name, sorted(known))
    return name
