"""The command line: ``zs-env COMMAND``, or ``python -m zs_env COMMAND``.

A command is a function that adds its parser, and one that runs it and imports what it needs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from zs_env.errors import ZeroSearchError

CORPUS_HELP = (
    "a .jsonl file with `text`, and `title` and `id` if there are any, in each line; or with "
    "`contents`, as Search-R1 writes them"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that ``arguments`` name; by default, those the program was started with.

    What the user can mend is printed as one line, and ends the program with status 1.
    """
    parser = argparse.ArgumentParser(prog="zs-env", description="Train and serve search agents.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_search, _add_index, _add_serve_retrieval):
        add(commands)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ZeroSearchError, ValueError, TypeError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # what a shell reports of a program that Ctrl-C ended


def _add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], description: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=description, description=description
    )
    parser.set_defaults(run=run)
    return parser


def _add_search(commands: Any) -> None:
    from zs_env import search_command

    search_command.add_arguments(
        _add_command(
            commands,
            "search",
            search_command.run,
            "Send one query to an engine, and print what a policy would read.",
        )
    )


def _add_index(commands: Any) -> None:
    parser = _add_command(
        commands, "index", _run_index, "Build the BM25 index of a corpus and save it in a folder."
    )
    parser.add_argument("--corpus", required=True, metavar="FILE", help=CORPUS_HELP)
    parser.add_argument("--index", required=True, metavar="FOLDER", help="where it is saved")


def _run_index(options: argparse.Namespace) -> None:
    from zs_env.engines.bm25 import load

    engine = load(options.corpus, index=options.index)
    print(f"{options.index}: the index of {len(engine.passages):,} passages of {options.corpus}")


def _add_serve_retrieval(commands: Any) -> None:
    parser = _add_command(
        commands,
        "serve-retrieval",
        _run_serve_retrieval,
        "Serve BM25 over HTTP, in the wire format of Search-R1's retrieval server.",
    )
    for name, default, metavar, what in (
        ("--corpus", "world", "FILE", f"{CORPUS_HELP}; default: the embedded world"),
        ("--index", None, "FOLDER", "a saved index, built if need be; default: all in memory"),
        ("--host", "127.0.0.1", "HOST", "address to listen at; default: %(default)s"),
        ("--port", 8000, "N", "port, 0 for any that is free; default: %(default)s"),
        ("--top-k", 3, "N", "documents a query, if a request does not say; default: %(default)s"),
    ):
        kind = int if metavar == "N" else str
        parser.add_argument(name, default=default, metavar=metavar, type=kind, help=what)


def _run_serve_retrieval(options: argparse.Namespace) -> None:
    import asyncio

    from zs_env.engines.bm25 import load
    from zs_env.retrieval_server import make_app, serve

    corpus = None if options.corpus == "world" else options.corpus
    app = make_app(load(corpus, index=options.index), options.top_k)
    asyncio.run(serve(app, options.host, options.port))
