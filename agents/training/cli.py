"""The command line of a program that takes one dataclass of options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from zs_env.errors import ZeroSearchError

T = TypeVar("T")


def run_main(function: Callable[[T], None], options: type[T]) -> None:
    """Call ``function`` with the options of the command line.

    What the user can mend is printed as one line, and ends the program with status 1.
    """
    try:
        function(tyro.cli(options, description=sys.modules["__main__"].__doc__))
    except (ZeroSearchError, ValueError, TypeError) as error:
        raise SystemExit(f"error: {error}") from error
