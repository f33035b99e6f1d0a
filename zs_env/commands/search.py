"""``zs-env search``: one query to any engine, to see what a policy would read."""

from __future__ import annotations

import argparse
import sys
import time

from zs_env.commands.play_options import positive
from zs_env.documents import SearchRequest, clean_documents, clean_text
from zs_env.engines import ENGINES, checked_search, load_engine
from zs_env.prompts import render_information
from zs_env.rules import DOCUMENT_SLACK

NAME = "search"
DESCRIPTION = "Send one query to an engine, and print what a policy would read."

EXAMPLES = """\
examples:
  zs-env search "birthplace of Ada Blake"
  zs-env search --engine passages.jsonl "capital of Peru"
  zs-env search --engine simulated,base_url=http://127.0.0.1:8000/v1,model=qwen \\
      --question "What is the capital of Peru?" --answer Lima --noisy "capital of Peru"
  zs-env search --engine google,provider=serpapi "capital of Peru"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("query", help="query to search for")
    parser.add_argument(
        "--engine",
        default="world",
        help=f"{', '.join(ENGINES)}, or module:Class, with options as in "
        "bm25,corpus=passages.jsonl or as a JSON object with `name`; or the path of a .jsonl "
        "corpus; default: %(default)s",
    )
    parser.add_argument("--question", help="question that the query is for; default: the query")
    parser.add_argument(
        "--answer", action="append", default=[], help="a golden answer; may be repeated"
    )
    parser.add_argument("--noisy", action="store_true", help="ask for documents that do not help")
    parser.add_argument(
        "--top-k", type=positive, default=5, help="number of documents; default: %(default)s"
    )
    parser.add_argument(
        "--document-words",
        type=positive,
        default=30,
        help="words of a document, approximately; default: %(default)s",
    )
    parser.add_argument("--key", type=int, default=0, help="key of the random choices")


def run(options: argparse.Namespace) -> None:
    """Search, and print the documents as a policy reads them; time and usage go to stderr.

    Raises:
        SearchFailure: the engine gave up.
        ValueError: the query is empty.
    """
    query = clean_text(options.query)
    if not query:
        raise ValueError(f"the query must hold at least one word, got {options.query!r}.")
    sys.path.append("")  # module:Class may be in the current folder
    engine = load_engine(options.engine)
    request = SearchRequest(
        query=query,
        question=options.question or options.query,
        golden_answers=tuple(options.answer),
        noisy=options.noisy,
        top_k=options.top_k,
        document_words=options.document_words,
        key=options.key,
    )
    if options.noisy and not engine.honours_noise:
        print(f"{options.engine} is a real engine and ignores --noisy", file=sys.stderr)
    start = time.perf_counter()
    try:
        [result] = checked_search(engine, [request])
    finally:
        engine.close()
    if result.failure is not None:
        raise result.failure
    documents = clean_documents(result.documents, DOCUMENT_SLACK * request.document_words)
    print(render_information(documents).strip())
    took = f"{len(documents)} documents in {time.perf_counter() - start:.2f} s"
    print(took if engine.usage is None else f"{took}; {engine.usage}", file=sys.stderr)
