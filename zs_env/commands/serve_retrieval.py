"""``zs-env serve-retrieval``: serve BM25 over HTTP, for trainers that ask a retrieval server."""

from __future__ import annotations

import argparse

from zs_env.commands.index import CORPUS_HELP

NAME = "serve-retrieval"
DESCRIPTION = "Serve BM25 over HTTP, in the wire format of Search-R1's retrieval server."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    for name, default, metavar, what in (
        ("--corpus", "world", "FILE", f"{CORPUS_HELP}; default: the embedded world"),
        ("--index", None, "FOLDER", "folder of a saved index, built if needed; default: in memory"),
        ("--host", "127.0.0.1", "HOST", "address to listen at; default: %(default)s"),
        ("--port", 8000, "N", "port, 0 for any free one; default: %(default)s"),
        ("--top-k", 3, "N", "documents for each query without `topk`; default: %(default)s"),
    ):
        kind = int if metavar == "N" else str
        parser.add_argument(name, default=default, metavar=metavar, type=kind, help=what)


def run(options: argparse.Namespace) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    import asyncio

    from zs_env.engines.bm25 import load
    from zs_env.engines.retrieval_server import check_address, make_app, serve

    check_address(options.host, options.port)  # before reading a corpus, which may take minutes
    corpus = None if options.corpus == "world" else options.corpus
    app = make_app(load(corpus, index=options.index), options.top_k)
    asyncio.run(serve(app, options.host, options.port))
