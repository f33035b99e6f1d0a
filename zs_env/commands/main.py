"""Command line: ``zs-env COMMAND``, or ``python -m zs_env COMMAND``.

A command is a module with ``NAME``, ``DESCRIPTION``, ``add_arguments(parser)`` and
``run(options)``, which imports what it needs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zs_env.commands import (
    ask,
    audit,
    compare,
    datasets,
    evaluate,
    index,
    rescore,
    results,
    search,
    serve,
    serve_retrieval,
    simulation,
)
from zs_env.errors import ZeroSearchError
from zs_env.evaluation.tables import printable

COMMANDS = (
    search, ask, evaluate, results, compare, rescore, audit, datasets, index, serve,
    serve_retrieval, simulation,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command named by ``arguments``; by default, those of the program.

    An error that the user can correct is printed as one line, with exit status 1.
    """
    parser = argparse.ArgumentParser(prog="zs-env", description="Train and serve search agents.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = commands.add_parser(
            command.NAME, help=command.DESCRIPTION, description=command.DESCRIPTION
        )
        subparser.set_defaults(run=command.run)
        command.add_arguments(subparser)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ZeroSearchError, ValueError, TypeError, OSError) as error:
        message = " ".join(line.strip() for line in str(error).splitlines())
        raise SystemExit(f"error: {printable(message)}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # 128 + SIGINT, as shells report it
