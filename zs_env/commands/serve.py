"""``zs-env serve``: serve episodes to the trainers that have a client of OpenEnv."""

from __future__ import annotations

import argparse

from zs_env.commands.play_options import positive
from zs_env.commands.settings_options import add_settings_arguments, given_settings
from zs_env.settings import TextSettings

NAME = "serve"
DESCRIPTION = "Serve episodes over OpenEnv's protocol, many at the same time."

EXAMPLES = """\
examples:
  zs-env serve
  zs-env serve --engine simulated,base_url=http://127.0.0.1:8001/v1,model=qwen --noise-end 0.75
  zs-env serve --questions hotpotqa,split=train --engine bm25,corpus=passages.jsonl --port 9000
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to ``parser``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; default: %(default)s"
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="port, 0 for any free one; default: %(default)s"
    )
    parser.add_argument(
        "--max-sessions",
        type=positive,
        default=1024,
        metavar="N",
        help="most sessions at the same time; default: %(default)s",
    )
    parser.add_argument(
        "--total-episodes",
        type=positive,
        metavar="N",
        help="episodes, over all sessions, after which progress is 1, for trainers that do not "
        "send it; default: progress is 0 until a reset sets it",
    )
    add_settings_arguments(parser, TextSettings, observation="delta")


def run(options: argparse.Namespace) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        ValueError: an option is out of its range.
        MissingDependencyError: OpenEnv is not installed.
    """
    import sys

    from zs_env.adapters.openenv.server import make_app, serve

    if not 0 <= options.port <= 65_535:
        raise ValueError(f"`port` must be from 0 to 65535, 0 for any free one, got {options.port}.")
    sys.path.append("")  # module:Class may be in the current folder
    app = make_app(
        max_sessions=options.max_sessions,
        total_episodes=options.total_episodes,
        **given_settings(options, TextSettings),
    )
    serve(app, options.host, options.port)
