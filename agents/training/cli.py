"""The command line of a program that takes one dataclass of options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from zs_env.errors import ZeroSearchError

T = TypeVar("T")


def run_main(function: Callable[[T], object], options: type[T]) -> None:
    """Call ``function`` with the options of the command line.

    What the user can mend is printed as one line, and ends the program with status 1.
    """
    main = sys.modules["__main__"]
    prog = f"python -m {main.__spec__.name.removesuffix('.__main__')}" if main.__spec__ else None
    try:
        function(tyro.cli(options, prog=prog, description=main.__doc__))
    except SyntaxError as error:  # in a module that an option names
        raise SystemExit(f"error: {error.filename}:{error.lineno}: {error.msg}") from error
    except (ZeroSearchError, ValueError, TypeError, OSError) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from error
