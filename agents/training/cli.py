"""Command lines of programs that take one dataclass of options."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import TypeVar

import tyro

from zs_env.errors import ZeroSearchError

T = TypeVar("T")


def run_main(function: Callable[[T], object], options: type[T]) -> None:
    """Call ``function`` with the options of the command line.

    Errors that the user can correct are printed by `one_line_errors`.
    For options that cannot be parsed, tyro explains the error and ends it with status 2.
    """
    with one_line_errors():
        function(parse(options))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print an error that the user can correct as one line, and end with status 1.

    Raises:
        SystemExit: there was such an error.
    """
    try:
        yield
    except (ZeroSearchError, ValueError, TypeError, OSError) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from error


def parse(options: type[T], arguments: Sequence[str] | None = None) -> T:
    """Parse the options of the command line.

    Args:
        options: dataclass of the options.
        arguments: the command line; by default that of this program.

    Raises:
        ValueError: the dataclass refuses the options.
        SystemExit: they cannot be parsed, or help was asked for.
    """
    main = sys.modules["__main__"]
    prog = f"python -m {main.__spec__.name.removesuffix('.__main__')}" if main.__spec__ else None
    stderr = sys.stderr
    with redirect_stderr(StringIO()) as shown:
        try:
            return tyro.cli(options, prog=prog, description=main.__doc__, args=arguments)
        except SystemExit as end:
            # tyro prints an error of the dataclass in a box of broken lines: raise it instead.
            if isinstance(end.__context__, ValueError):
                raise end.__context__ from None
            stderr.write(shown.getvalue())
            raise
