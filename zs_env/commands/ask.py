"""``zs-env ask``: one question, and the transcript as it is written."""

from __future__ import annotations

import argparse
import sys

from zs_env.commands.play_options import add_model_arguments, given_options
from zs_env.errors import SearchFailure

NAME = "ask"
DESCRIPTION = "Play one question, and print the transcript as it comes."

EXAMPLES = """\
examples:
  zs-env ask "Where was Ada Blake born?" --method solver
  zs-env ask "What is the capital of Peru?" --engine google \\
      --model openai_api,base_url=http://127.0.0.1:8000/v1,model=qwen
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("question", help="question to ask")
    add_model_arguments(parser)
    parser.add_argument(
        "--engine",
        default="world",
        help="engine, with options as in bm25,corpus=passages.jsonl; default: %(default)s",
    )
    parser.add_argument(
        "--answer", action="append", help="a golden answer, to score the answer; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed; default: %(default)s")


def run(options: argparse.Namespace) -> None:
    """Ask, and print what is written; the answer's scores and the counts go to stderr.

    Raises:
        ZeroSearchError: the model or the engine is not there, or failed.
    """
    from zs_env.evaluation.ask import UNKNOWN, ask
    from zs_env.evaluation.run import Plan, make_options
    from zs_env.evaluation.tables import printable
    from zs_env.questions import Question

    sys.path.append("")  # module:Class may be in the current folder
    question = Question("asked", options.question, tuple(options.answer or (UNKNOWN,)))
    plan = Plan(
        method=options.method,
        model=options.model,
        questions=[[question]],
        engines=[options.engine],
        seed=options.seed,
        options=make_options(options.model, given_options(options), options.episode),
    )
    record = ask(plan, lambda segment: print(printable(segment.text, "\n\t"), end="", flush=True))
    print()
    counts = (
        f"{record.turns} turns, {len(record.searches)} searches, {record.prompt_tokens:,} tokens "
        f"read, {record.completion_tokens:,} written, {record.seconds:.1f} s"
    )
    answer = "none" if record.answer is None else printable(record.answer)
    print(f"answer: {answer}; {record.termination}; {counts}", file=sys.stderr)
    if options.answer:
        scores = ", ".join(f"{name} {score:.3f}" for name, score in record.scores.items())
        print(scores, file=sys.stderr)
    if record.failure is not None:
        raise SearchFailure(record.failure)
