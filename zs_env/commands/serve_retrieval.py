"""``zs-env serve-retrieval``: serve an engine over HTTP, for trainers with a retrieval server."""

from __future__ import annotations

import argparse
from typing import Any

from zs_env.commands.index import CORPUS_HELP

NAME = "serve-retrieval"
DESCRIPTION = "Serve an engine over HTTP, in the wire format of Search-R1's retrieval server."

EXAMPLES = """\
examples:
  zs-env serve-retrieval --engine passages.jsonl
  zs-env serve-retrieval --engine bm25,corpus=passages.jsonl,index=folder --top-k 5
  zs-env serve-retrieval --engine simulated,base_url=http://127.0.0.1:8001/v1,model=qwen --noise 0.3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    for name, default, metavar, what in (
        ("--engine", None, "ENGINE", "engine, as `zs-env search` takes it; default: bm25"),
        ("--corpus", None, "FILE", f"same as --engine bm25,corpus=FILE: {CORPUS_HELP}"),
        ("--index", None, "FOLDER", "with --corpus: folder of a saved index, built if needed"),
        ("--host", "127.0.0.1", "HOST", "address to listen at; default: %(default)s"),
        ("--port", 8000, "N", "port, 0 for any free one; default: %(default)s"),
        ("--top-k", 3, "N", "documents for each query without `topk`; default: %(default)s"),
        ("--document-words", 30, "N", "words of a document that is written; default: %(default)s"),
        ("--noise", 0.0, "P", "noise probability of a simulated engine; default: %(default)s"),
        ("--seed", 0, "N", "seed of queries that come without a key; default: %(default)s"),
        ("--max-concurrency", 256, "N", "most searches at the same time; default: %(default)s"),
    ):
        kind = {"N": int, "P": float}.get(metavar, str)
        parser.add_argument(name, default=default, metavar=metavar, type=kind, help=what)
    parser.add_argument(
        "--failures",
        default="error",
        choices=("error", "empty"),
        help="what a client that knows no failures gets for a failed search: status 502, or no "
        "documents; default: %(default)s",
    )


def run(options: argparse.Namespace) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        ValueError: an option is out of its range, or two contradict each other.
        ServiceError: the engine cannot be used.
    """
    import asyncio
    import sys

    from zs_env.engines import load_engine
    from zs_env.engines.retrieval_request import Defaults
    from zs_env.engines.retrieval_server import check_address, make_app, serve

    check_address(options.host, options.port)  # before reading a corpus, which may take minutes
    defaults = Defaults(options.top_k, options.document_words, options.noise, options.seed)
    sys.path.append("")  # module:Class may be in the current folder
    engine = load_engine(_engine_of(options))
    try:
        if options.noise and not engine.honours_noise:
            print(
                f"{options.engine or 'bm25'} is a real engine and ignores --noise", file=sys.stderr
            )
        app = make_app(
            engine, defaults, failures=options.failures, max_concurrency=options.max_concurrency
        )
        asyncio.run(serve(app, options.host, options.port))
    finally:
        engine.close()


def _engine_of(options: argparse.Namespace) -> str | dict[str, Any]:
    named = {"corpus": options.corpus, "index": options.index}
    given = {name: value for name, value in named.items() if value is not None}
    if given and options.engine is not None:
        raise ValueError(
            f"--{next(iter(given))} and --engine exclude each other: give the corpus with the "
            "engine, as in --engine bm25,corpus=FILE,index=FOLDER."
        )
    if given.get("corpus") == "world":
        del given["corpus"]
    return options.engine or {"name": "bm25", **given}
